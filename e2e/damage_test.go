package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// A database that is damaged makes the server refuse to start, with one line that says
// where it is and what to do; with --recover it starts, and gets back what the other
// server knows.
func TestDamagedDatabaseIsOneLineAndRecoverGetsOverridesFromTheOtherServer(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	other := must2(stage.Fresh())(t)
	join := []string{"--join", other.Gossip}
	p := h.eds(join...)
	second := must2(h.StartEDSAt(other, "--join", h.Addresses.Gossip))(t)
	api := stage.NewAPI(other.HTTP)
	if err := second.Await(within(t, patience), api.Ready); err != nil {
		t.Fatal(err)
	}
	decided := func(a *stage.API) func(context.Context) error {
		return func(ctx context.Context) error {
			body, err := a.Expect(ctx, http.StatusOK, http.MethodGet, "/overrides", "")
			if err == nil && !strings.Contains(body, "10.1.2.3:80") {
				err = fmt.Errorf("overrides are %s", body)
			}
			return err
		}
	}
	h.request(http.StatusOK, http.MethodPatch, "/edsservice/web/hosts/10.1.2.3:80", `{"state":"exclude","reason":"disk errors"}`)
	if err := second.Await(within(t, patience), decided(api)); err != nil {
		t.Fatal(err)
	}
	if err := p.Stop(within(t, patience)); err != nil {
		t.Fatal(err)
	}
	path := databaseOf(h)
	whole := must2(os.ReadFile(path))(t)
	damaged := append(whole[:len(whole)/2:len(whole)/2], make([]byte, 100)...)
	if err := os.WriteFile(path, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	refuses(t, must2(h.StartEDS(join...))(t), path, "--recover")

	p = h.eds(append(join, "--recover")...)
	if err := decided(h.API)(t.Context()); err != nil {
		t.Errorf("ready, but %v", err)
	}
	aside, _ := filepath.Glob(path + ".damaged-*")
	if len(aside) != 1 || string(must2(os.ReadFile(aside[0]))(t)) != string(damaged) {
		t.Errorf("the damaged database is at %v", aside)
	}
	if err := p.Stop(within(t, patience)); err != nil {
		t.Fatal(err)
	}
	h.eds(join...) // and without --recover again
}

// databaseOf is where the fleet's first EDS server keeps its data.
func databaseOf(h *harness) string {
	found, _ := filepath.Glob(filepath.Join(h.Dir, "eds-*", "rollcall.db"))
	for _, path := range found {
		if strings.HasSuffix(h.Addresses.HTTP, strings.TrimPrefix(filepath.Base(filepath.Dir(path)), "eds-")) {
			return path
		}
	}
	return "no database"
}

// refuses fails the test unless p ends with 1 and one line, soon, which has the words.
func refuses(t *testing.T, p *stage.Process, words ...string) {
	t.Helper()
	select {
	case <-p.Done():
	case <-time.After(patience):
		t.Fatalf("%s does not end", p.Name)
	}
	log := strings.TrimSpace(p.Log())
	last := log[strings.LastIndex(log, "\n")+1:]
	if p.ExitCode() != 1 || strings.Contains(log, "goroutine ") || strings.Contains(log, "level=ERROR") || !strings.HasPrefix(last, "rollcall: ") {
		t.Errorf("it ended with %d and said:\n%s", p.ExitCode(), log)
	}
	for _, word := range words {
		if !strings.Contains(last, word) {
			t.Errorf("the line does not say %q: %s", word, last)
		}
	}
}

// The disk loses the database under a running server: writes fail, everything else
// continues, and the server still ends when it is told to.
func TestDatabaseThatBreaksUnderTheServerStopsNeitherDiscoveryNorTheStop(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	p := h.eds()
	up := h.upstream()
	decide := func(want int) {
		t.Helper()
		h.request(want, http.MethodPatch, "/edsservice/web/hosts/10.1.2.3:80", `{"state":"exclude"}`)
	}
	decide(http.StatusOK)
	if err := os.Truncate(databaseOf(h), 8192); err != nil { // what is mapped beyond faults, as it does when a disk fails
		t.Fatal(err)
	}
	h.request(http.StatusInternalServerError, http.MethodPatch, "/edsservice/shop/hosts/10.1.2.3:80", `{"state":"exclude"}`)
	h.request(http.StatusInternalServerError, http.MethodPatch, "/edsservice/shop/hosts/10.1.2.3:80", `{"state":"drain"}`)
	h.logs(p, "level=ERROR", "could not be read from disk", databaseOf(h))
	other := h.upstream()
	h.eventually("both upstreams are served", func(ctx context.Context) error {
		got, err := h.API.Service(ctx, h.Service)
		if err == nil && len(got.Hosts) != 2 {
			err = fmt.Errorf("%d hosts", len(got.Hosts))
		}
		return err
	})
	for _, u := range []*stage.Upstream{up, other} {
		if err := u.Stop(within(t, patience)); err != nil {
			t.Error(err)
		}
	}
	if err := p.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.Done():
	case <-time.After(25 * time.Second):
		t.Fatal("it does not end")
	}
	if log := p.Log(); p.ExitCode() > 1 || strings.Contains(log, "goroutine ") || strings.Count(log, "cannot be changed: check the disk") != 1 {
		t.Errorf("it ended with %d and said:\n%s", p.ExitCode(), log)
	}
}

func TestUnreadableRecordsAreLeftOutAndCounted(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	p := h.eds()
	for _, service := range []string{"web", "shop", "mail"} {
		h.request(http.StatusOK, http.MethodPatch, "/edsservice/"+service+"/hosts/10.1.2.3:80", `{"state":"exclude"}`)
	}
	if err := p.Stop(within(t, patience)); err != nil {
		t.Fatal(err)
	}
	db := must2(bbolt.Open(databaseOf(h), 0o600, nil))(t)
	err := db.Update(func(tx *bbolt.Tx) error {
		last, _ := tx.Bucket([]byte("audit")).Cursor().Last()
		if err := tx.Bucket([]byte("audit")).Put(last, []byte("{")); err != nil {
			return err
		}
		return tx.Bucket([]byte("overrides")).Put([]byte("shop\x0010.1.2.3:80"), []byte{0xff})
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	p = h.eds()
	h.logs(p, "level=ERROR", "service=shop", "endpoint=10.1.2.3:80")
	for path, want := range map[string]int{"/audit": 2, "/overrides": 2} {
		if n := strings.Count(h.request(http.StatusOK, http.MethodGet, path, ""), `"exclude"`); n != want {
			t.Errorf("GET %s has %d, want %d", path, n, want)
		}
	}
	metrics := h.request(http.StatusOK, http.MethodGet, "/metrics", "")
	for _, kind := range []string{"audit", "override"} {
		if !strings.Contains(metrics, `rollcall_database_unreadable_records_total{kind="`+kind+`"} 1`) {
			t.Errorf("the unreadable %s is not counted", kind)
		}
	}
}
