package xds

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/rollcall-fleet/rollcall/eds/registry"
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

func TestAnAssignmentIsEncodedAsProtobufWould(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var before *assignment
		for range rapid.IntRange(1, 6).Draw(t, "updates") {
			hosts := anyHosts(t)
			if before != nil && rapid.Bool().Draw(t, "keep most") { // one of those before is another one now
				hosts = slices.Clone(before.hosts)
				if len(hosts) > 0 {
					changed := *hosts[0].Host
					changed.Weight = changed.Weight%fleet.MaxWeight + 1
					hosts[0].Host = &changed
				}
			}
			a := newAssignment("web", hosts, before)
			if rapid.Bool().Draw(t, "nobody asks") { // the one after it takes what it can from the one before it
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
			anew, err := encode("web", hosts, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got := a.encoded().value; !bytes.Equal(got, want) || anew.version != a.version() {
				t.Fatalf("encoded %x as %s\nwant    %x as %s", got, a.version(), want, anew.version)
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
	a := mustEncode("web", hostA, hostB)
	hosts := slices.Clone(a.hosts)
	changed := *hosts[1].Host
	changed.Weight++
	hosts[1].Host = &changed
	a.encoded()
	skipped := newAssignment("web", nil, a)
	b := newAssignment("web", hosts, skipped)
	was, is := a.encoded(), b.encoded()
	if is.parts[0] != was.parts[0] || is.parts[1] == was.parts[1] || a.version() == b.version() {
		t.Error("the wrong endpoint was encoded")
	}
	if skipped.done.Load() {
		t.Error("what nobody asked for was encoded")
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
