package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// An Envoy that asks every third second, and later, is told at once while it waits for
// an answer.
func TestNewsReachesAnEnvoyWhosePollIsHeld(t *testing.T) {
	const delay = 3 * time.Second
	t.Parallel()
	h := newHarness(t)
	h.eds()
	one, two := h.upstream(), h.stranger()
	h.ownEnvoy(h.waiting(delay, 20*time.Second))
	h.serves(one)
	h.polls(0)
	h.polls(1) // just now, for five seconds
	time.Sleep(200 * time.Millisecond)
	if n := must2(h.Admin.Waiting(within(t, patience), "xds_cluster"))(t); n != 1 {
		t.Fatal("its poll was answered at once")
	}

	began := time.Now()
	h.operate(http.StatusOK, http.MethodPut, stage.HostList(two.Port))
	h.serves(two)
	if took := time.Since(began); took >= delay {
		t.Errorf("envoy was told after %s: when it polled again", took)
	}
}

// waiting writes a bootstrap of an Envoy that polls, and waits so long for an answer.
func (h *harness) waiting(refresh, request time.Duration) string {
	h.t.Helper()
	args := []string{"envoy", "bootstrap", "--api", "rest", "--eds", h.Addresses.HTTP, "--service", h.Service,
		"--listen", h.Addresses.Listener, "--admin", h.Addresses.Admin, "--no-retries", "--refresh-delay", refresh.String()}
	out, err := exec.CommandContext(h.t.Context(), binary, args...).Output()
	must(h.t, out, err)
	boot := strings.Replace(string(out), "request_timeout: 1s", fmt.Sprintf("request_timeout: %.0fs", request.Seconds()), 1)
	if boot == string(out) {
		h.t.Fatal("the bootstrap has no request_timeout of 1 s")
	}
	file := filepath.Join(h.Dir, "waiting.yaml")
	if err := os.WriteFile(file, []byte(boot), 0o600); err != nil {
		h.t.Fatal(err)
	}
	return file
}

// polls waits until so many polls of Envoy's are not answered.
func (h *harness) polls(want int) {
	h.t.Helper()
	h.eventually(fmt.Sprintf("%d polls are held", want), func(ctx context.Context) error {
		n, err := h.Admin.Waiting(ctx, "xds_cluster")
		if err == nil && n != want {
			err = fmt.Errorf("%d are", n)
		}
		return err
	})
}
