package api

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/fleet"
)

func netipAddr(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func TestOverridesAreListedByService(t *testing.T) {
	r := newRig(t)
	r.must(201, "POST", "/edsservice/b", payload)
	r.ask(200, "PATCH", "/edsservice/a/hosts/10.0.0.1:80", `{"state":"drain","tags":{"canary":true}}`)
	hosts := func(query string) []string {
		var got struct {
			Overrides []struct{ Service, Host, Mode string }
		}
		if err := json.Unmarshal([]byte(r.must(200, "GET", "/overrides"+query, "").body), &got); err != nil {
			t.Fatal(err)
		}
		names := []string{}
		for _, o := range got.Overrides {
			names = append(names, o.Service+" "+o.Host+o.Mode)
		}
		return names
	}
	for query, want := range map[string][]string{"": {"a 10.0.0.1:80", "b merge"}, "?service=b": {"b merge"}, "?service=c": {}} {
		if got := hosts(query); !slices.Equal(got, want) {
			t.Errorf("%q lists %q, want %q", query, got, want)
		}
	}
	r.must(400, "GET", "/overrides?services=b", "")
}

func TestAuditIsReadInPages(t *testing.T) {
	r := newRig(t)
	began := time.Now()
	for i := range 25 {
		r.ask(200, "PATCH", hostByID, fmt.Sprintf(`{"load_balancing_weight":%d}`, i+1))
	}
	type page struct {
		Audit []struct {
			ID, Action string
			Override   struct {
				Weight int `json:"load_balancing_weight"`
			}
			Before *struct{ ID string }
		}
		Next string
	}
	read := func(query string) (weights []int, next string) {
		var p page
		if err := json.Unmarshal([]byte(r.must(200, "GET", "/audit"+query, "").body), &p); err != nil {
			t.Fatal(err)
		}
		for _, e := range p.Audit {
			weights = append(weights, e.Override.Weight)
			if first := e.Override.Weight == 1; (e.Before == nil) != first || (e.Action == "created") != first {
				t.Errorf("entry %+v", e)
			}
		}
		return weights, p.Next
	}
	var all []int
	for query := "?limit=10"; ; {
		weights, next := read(query)
		all = append(all, weights...)
		if next == "" {
			break
		}
		query = "?limit=10&before=" + next
	}
	slices.Reverse(all)
	if len(all) != 25 || all[0] != 1 || !slices.IsSorted(all) {
		t.Errorf("paged: %v", all)
	}
	if weights, _ := read("?since=1h"); len(weights) != 25 {
		t.Errorf("of the last hour: %v", weights)
	}
	if weights, next := read("?since=" + began.Add(time.Hour).UTC().Format(time.RFC3339)); len(weights) != 0 || next != "" {
		t.Errorf("of the future: %v, %q", weights, next)
	}
	for _, query := range []string{"?since=x", "?limit=0", "?limit=1001", "?limit=x", "?before=x", "?after=1"} {
		r.must(400, "GET", "/audit"+query, "")
	}
}

func TestDurationsMayHaveDays(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"30m": 30 * time.Minute, "1h30m": 90 * time.Minute, "7d": 168 * time.Hour, "1d12h": 36 * time.Hour, "366d": 366 * 24 * time.Hour,
		"": 0, "7": 0, "d": 0, "1d-1h": 0, "-1d": 0, "0d": 0, "367d": 0, "99999d": 0, "1w": 0, "1d 1h": 0,
	} {
		if got, err := parseDuration(text); got != want || (err != nil) != (want == 0) {
			t.Errorf("%q is %v, %v", text, got, err)
		}
	}
}

type auditPage struct {
	Audit []struct{ ID string }
	Next  string
	bytes int
}

// auditPages reads the audit to its end in pages.
func (r *rig) auditPages(query string) (pages []auditPage) {
	r.Helper()
	for before := ""; ; {
		body := r.must(200, "GET", "/audit"+query+before, "").body
		p := auditPage{bytes: len(body)}
		if err := json.Unmarshal([]byte(body), &p); err != nil {
			r.Fatal(err)
		}
		pages = append(pages, p)
		if p.Next == "" {
			return pages
		}
		if last := p.Audit[len(p.Audit)-1].ID; p.Next != last {
			r.Fatalf("after %s it goes on before %s", last, p.Next)
		}
		before = "&before=" + p.Next
	}
}

func TestPageOfTheAuditIsFullAndNamesTheNextOnlyIfThereIsOne(t *testing.T) {
	r := newRig(t)
	for i := range 2 * auditChunk {
		r.ask(200, "PATCH", hostByID, fmt.Sprintf(`{"load_balancing_weight":%d}`, i+1))
	}
	for _, limit := range []int{1, auditChunk - 1, auditChunk, auditChunk + 1, 2*auditChunk - 1, 2 * auditChunk, 2*auditChunk + 1, maxAudit} {
		for _, since := range []string{"", "&since=1h"} {
			pages := r.auditPages(fmt.Sprintf("?limit=%d%s", limit, since))
			var sizes []int
			all := make(map[string]bool)
			for _, p := range pages {
				sizes = append(sizes, len(p.Audit))
				for _, e := range p.Audit {
					all[e.ID] = true
				}
			}
			if len(all) != 2*auditChunk || slices.Min(sizes) < 1 || slices.ContainsFunc(sizes[:len(sizes)-1], func(n int) bool { return n != limit }) {
				t.Errorf("pages of %d%s hold %v, %d in all", limit, since, sizes, len(all))
			}
		}
	}
}

func TestPageOfTheAuditIsBoundedInBytes(t *testing.T) {
	r := newRig(t)
	list := override.Override{Key: override.Key{Service: "myservice"}, Mode: override.Pin}
	for port := range 5000 {
		list.Hosts = append(list.Hosts, override.Host{Endpoint: fleet.Endpoint{
			Addr: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), uint16(1+port)), Weight: 1, Health: fleet.Healthy,
		}})
	}
	const lists = 6 // each is in the audit twice: as what was decided and as what was before
	for range lists {
		if _, _, err := r.store.Edit(override.Edit{Key: list.Key, Change: func(override.Override, bool) (override.Override, error) { return list, nil }}); err != nil {
			t.Fatal(err)
		}
	}
	pages := r.auditPages("?limit=1000")
	if len(pages) != 2 || len(pages[0].Audit)+len(pages[1].Audit) != lists {
		t.Fatalf("%d lists come in %d pages", lists, len(pages))
	}
	first := pages[0]
	if one := first.bytes / len(first.Audit); first.bytes < auditBytes || first.bytes > auditBytes+2*one {
		t.Errorf("a page has %d bytes, with entries of %d", first.bytes, one)
	}
}
