package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/e2e/faults"
	"github.com/rollcall-fleet/rollcall/envoy"
	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// before is the last commit whose members refuse metadata fields that they do not know.
const before = "2319ba351096f9ac817c5e5007fac3f028d7c1d4"

// older is rollcall as of that commit, built from the history of this clone.
var older = sync.OnceValues(func() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	// The sources stay in one place, so that the compiler's cache holds for them.
	dir := filepath.Join(cache, "rollcall", "src-"+before[:12])
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		err = extract(before, dir)
		if err != nil {
			return "", err
		}
	}
	cmd := exec.Command("go", "build", "-o", "rollcall", "./cmd/rollcall")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build rollcall as of %s: %w\n%s", before, err, out)
	}
	return filepath.Join(dir, "rollcall"), nil
})

// extract writes the sources of a commit to dir.
func extract(commit, dir string) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "src-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	script := `set -o pipefail; git -C .. archive "$1" | tar -x -C "$2"`
	if out, err := exec.Command("bash", "-c", script, "extract", commit, tmp).CombinedOutput(); err != nil {
		return fmt.Errorf("the tests of mixed versions build rollcall as of %s, which is not in this clone (get its history with git fetch --unshallow): %w\n%s", commit, err, out)
	}
	if err := os.Rename(tmp, dir); err != nil && !errors.Is(err, os.ErrExist) && !errors.Is(err, syscall.ENOTEMPTY) {
		return err
	}
	return nil
}

// wrapped starts a program under rollcall run, as an upstream whose process answers.
func (h *harness) wrapped() *stage.Upstream {
	h.t.Helper()
	dir, port := h.t.TempDir(), must2(stage.FreePort())(h.t)
	id := uuid.NewString()
	app := strings.ReplaceAll(pythonServer, `b"python"`, "sys.argv[2].encode()")
	must(h.t, 0, os.WriteFile(filepath.Join(dir, "app.py"), []byte(app), 0o600))
	p := h.verb(dir, "run", "--service", h.Service, "--port", strconv.Itoa(port), "--health", "/health",
		"--join", h.Addresses.Gossip, "--fleet", h.Pool, "--", "python3", "app.py", strconv.Itoa(port), id)
	return &stage.Upstream{Process: p, Port: port, ID: id}
}

func TestMembersOfTwoVersionsWorkTogether(t *testing.T) {
	old := must2(older())(t)
	for name, tt := range map[string]struct{ servers, others string }{
		"older upstreams and Envoys of a newer EDS server":  {binary, old},
		"newer upstreams and Envoys of an older EDS server": {old, binary},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			h.Binary = tt.servers
			h.eds()
			h.Binary = tt.others
			stopped, killed, stays := h.upstream("--weight", "2"), h.upstream("--weight", "2"), h.upstream("--weight", "2", "--tag", "a=b")
			wrapped := h.wrapped()
			h.envoy(envoy.DeltaADS, "--no-retries")
			h.serves(stopped, killed, stays, wrapped)

			load := h.load()
			must(t, 0, stopped.Stop(within(t, patience)))
			must(t, 0, wrapped.Signal(syscall.SIGTERM))
			<-wrapped.Done()
			h.noneFailed(load)
			for _, p := range []*stage.Process{stopped.Process, wrapped.Process} {
				logs(t, p, "msg=drained")
			}
			h.serves(killed, stays)

			killed.Kill()
			h.letsGoOf(killed)
			h.serves(stays)
			again := h.upstream()
			h.serves(stays, again)
		})
	}
}

// What a member says in a field that comes in a later version is none of the EDS
// server's business, and no reason to keep it out.
func TestMemberWithUnknownFieldsIsServed(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.eds()
	h.envoy(envoy.GRPC)
	u := must2(faults.NewLater(h.Pool, h.Addresses.Gossip, h.Service))(t)
	t.Cleanup(u.Close)
	h.serves(&stage.Upstream{ID: u.ID.String()})
	var got struct {
		Members []struct{ Quarantine string }
	}
	must(t, 0, h.API.Get(within(t, patience), "/members", &got))
	for _, m := range got.Members {
		if m.Quarantine != "" {
			t.Errorf("a member is quarantined: %s", m.Quarantine)
		}
	}
	must(t, 0, u.Leave(within(t, patience)))
	h.eventually("it has left", func(ctx context.Context) error {
		svc, err := h.API.Service(ctx, h.Service)
		if err == nil && len(svc.Hosts) > 0 {
			err = fmt.Errorf("hosts %+v", svc.Hosts)
		}
		return err
	})
}
