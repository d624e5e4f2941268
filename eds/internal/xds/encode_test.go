package xds

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// anyHosts draws hosts that are good, sorted by address.
func anyHosts(t *rapid.T) []served {
	var hosts []served
	for _, n := range slices.Sorted(slices.Values(rapid.SliceOfNDistinct(rapid.IntRange(1, 30), 0, 12, rapid.ID).Draw(t, "hosts"))) {
		h := host(fmt.Sprintf("10.0.0.%d:80", n))
		h.Weight = uint32(rapid.IntRange(1, fleet.MaxWeight).Draw(t, "weight"))
		h.Canary = rapid.Bool().Draw(t, "canary")
		h.ID = rapid.SampledFrom([]string{"", "00000000-0000-4000-8000-000000000001"}).Draw(t, "id")
		h.Locality = fleet.Locality{Region: rapid.SampledFrom([]string{"", "r1", "r2"}).Draw(t, "region"), Zone: rapid.SampledFrom([]string{"", "z"}).Draw(t, "zone")}
		if rapid.Bool().Draw(t, "tagged") {
			h.Tags = map[string]string{"stage": "prod", "version": rapid.StringMatching("[0-9a-z]{0,5}").Draw(t, "version")}
		}
		hosts = append(hosts, served{Host: h, leaving: rapid.Bool().Draw(t, "leaving")})
	}
	return hosts
}

func TestAssignmentIsEncodedAsProtobufWould(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var before *assignment
		for range rapid.IntRange(1, 6).Draw(t, "updates") {
			hosts := anyHosts(t)
			if before != nil && len(before.hosts) > 0 && rapid.Bool().Draw(t, "keep most") {
				hosts = slices.Clone(before.hosts)
				i := rapid.IntRange(0, len(hosts)-1).Draw(t, "but")
				if changed := *hosts[i].Host; rapid.Bool().Draw(t, "leaves") {
					hosts = slices.Delete(hosts, i, i+1)
				} else {
					changed.Weight = changed.Weight%fleet.MaxWeight + 1
					hosts[i].Host = &changed
				}
			}
			a := newAssignment("web", hosts, before)
			if rapid.Bool().Draw(t, "not encoded") { // the next one then reuses chunks of the one before it
				before = a
				continue
			}
			if a.encoded(); a.err != nil {
				t.Fatal(a.err)
			}
			want, err := deterministic.Marshal(loadAssignment("web", hosts))
			if err != nil {
				t.Fatal(err)
			}
			whole, err := encode("web", hosts, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := a.encoded().value; !bytes.Equal(got, want) || whole.version != a.version() {
				t.Fatalf("encoded %x as %s\nwant    %x as %s", got, a.version(), want, whole.version)
			}
			if a.before.Load() != nil {
				t.Fatal("an encoded assignment keeps an older one")
			}
			if before != nil && bytes.Equal(before.encoded().value, want) != (before.version() == a.version()) {
				t.Fatalf("the versions are %s and %s", before.version(), a.version())
			}
			before = a
		}
	})
}

func TestOnlyWhatChangedIsEncodedAgain(t *testing.T) {
	hosts := staying(crowd(1_000, 1).Hosts)
	a := newAssignment("web", hosts, nil)
	was := make(map[*chunk]bool)
	for _, c := range a.encoded().chunks {
		if was[c] = true; c.hosts > 10*chunkSize {
			t.Errorf("a chunk has %d endpoints", c.hosts)
		}
	}
	changed := *hosts[500].Host
	changed.Weight++
	for what, now := range map[string][]served{
		"one changed": slices.Concat(hosts[:500], staying([]*registry.Host{&changed}), hosts[501:]),
		"one came":    slices.Concat(hosts[:1], staying([]*registry.Host{host("10.1.0.1:81")}), hosts[1:]),
		"one left":    slices.Delete(slices.Clone(hosts), 500, 501),
		"the first":   hosts[1:],
		"the last":    hosts[:len(hosts)-1],
	} {
		skipped := newAssignment("web", nil, a)
		b := newAssignment("web", now, skipped)
		again := 0
		for _, c := range b.encoded().chunks {
			if !was[c] {
				again++
			}
		}
		if again > 2 || a.version() == b.version() { // a new endpoint may split a chunk
			t.Errorf("%s: %d of %d chunks were encoded", what, again, len(was))
		}
		if skipped.done.Load() {
			t.Errorf("%s: an assignment that was not asked for was encoded", what)
		}
	}
	if len(was) < 1_000/chunkSize/2 {
		t.Errorf("there are %d chunks of 1,000 endpoints", len(was))
	}
}

// BenchmarkEncode tells what encoding 10,000 endpoints costs after one of them has
// changed: only that one, and all of them.
func BenchmarkEncode(b *testing.B) {
	var hosts []served
	for i := range 10_000 {
		h := host(netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 80).String())
		h.ID = "00000000-0000-4000-8000-000000000001"
		hosts = append(hosts, served{Host: h})
	}
	first := newAssignment("web", hosts, nil)
	first.encoded()
	changed := slices.Clone(hosts)
	one := registry.Host(*hosts[5000].Host)
	one.Weight++
	changed[5000].Host = &one
	for name, before := range map[string]*assignment{"one": first, "all": nil} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := encode("web", changed, before); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
