//go:build long

package e2e

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// Each copy of a real database is damaged in another way: the server either starts or
// says in one line that it does not, and with --recover it always starts.
func TestLongDamagedDatabasesNeverCrashTheServer(t *testing.T) {
	h := newHarness(t)
	p := h.eds()
	for i := range 150 {
		h.request(http.StatusOK, http.MethodPatch, fmt.Sprintf("/edsservice/web-%d/hosts/10.1.2.3:80", i),
			`{"state":"exclude","reason":"`+strings.Repeat("x", i*6)+`"}`)
	}
	if err := p.Stop(within(t, patience)); err != nil {
		t.Fatal(err)
	}
	whole := must2(os.ReadFile(databaseOf(h)))(t)
	refused := 0
	for seed := range uint64(40) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			if damagedCopy(t, h, damagePages(whole, seed)) {
				refused++
			}
		})
	}
	t.Logf("%d of 40 were refused", refused)
	if refused < 10 {
		t.Errorf("%d were refused: the damage is too small to test anything", refused)
	}
}

// damagePages returns a copy that is cut short, or has a page that is zeroed, flipped
// in its head, overwritten or replaced by another.
func damagePages(whole []byte, seed uint64) []byte {
	b := bytes.Clone(whole)
	r := rand.New(rand.NewPCG(seed, 7))
	pages := len(b) / 4096
	page := 4096 * r.IntN(pages)
	if seed < 20 {
		page = 4096 * int(seed/5) // the headers and the first pages
	}
	switch seed % 5 {
	case 0:
		return b[:r.IntN(len(b))]
	case 1:
		clear(b[page : page+4096])
	case 2:
		b[page+r.IntN(80)] ^= 1 << r.IntN(8)
	case 3:
		for i := range 16 {
			b[page+i] = byte(r.IntN(4))
		}
	case 4:
		copy(b[page:page+4096], whole[4096*r.IntN(pages):])
	}
	return b
}

// damagedCopy starts a server on b, and reports whether it refused.
func damagedCopy(t *testing.T, h *harness, b []byte) (refused bool) {
	addrs := must2(stage.Fresh())(t)
	_, port, _ := strings.Cut(addrs.HTTP, ":")
	dir := filepath.Join(h.Dir, "eds-"+port)
	path := filepath.Join(dir, "rollcall.db")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	api := stage.NewAPI(addrs.HTTP)
	p := must2(h.StartEDSAt(addrs, "--fleet", stage.OwnPool()))(t)
	deadline := time.Now().Add(patience)
	for api.Ready(within(t, time.Second)) != nil {
		select {
		case <-p.Done():
			refuses(t, p, path, "--recover")
			refused = true
		case <-time.After(20 * time.Millisecond):
		}
		if refused {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it neither starts nor ends")
		}
	}
	if refused {
		p = must2(h.StartEDSAt(addrs, "--fleet", stage.OwnPool(), "--recover"))(t)
		if err := p.Await(within(t, patience), api.Ready); err != nil {
			t.Fatal(err)
		}
	}
	for _, ask := range [][2]string{{http.MethodGet, "/audit?limit=1000"}, {http.MethodGet, "/overrides"}} {
		if _, err := api.Expect(within(t, patience), http.StatusOK, ask[0], ask[1], ""); err != nil {
			t.Error(err)
		}
	}
	if _, err := api.Expect(within(t, patience), http.StatusOK, http.MethodPatch, "/edsservice/new/hosts/10.1.2.3:80", `{"state":"drain"}`); err != nil {
		t.Error(err)
	}
	if err := p.Stop(within(t, patience)); err != nil {
		t.Error(err)
	}
	if strings.Contains(p.Log(), "goroutine ") {
		t.Errorf("it said:\n%s", p.Log())
	}
	return refused
}
