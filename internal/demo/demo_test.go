package demo

import (
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

func TestChangesAreToldInWords(t *testing.T) {
	host := func(port int, id, state string) stage.Host {
		return stage.Host{IP: "127.0.0.1", Port: port, ID: id, Source: "gossip", State: state}
	}
	manual := stage.Host{IP: "127.0.0.1", Port: 1, Source: "manual", State: "healthy"}
	for name, c := range map[string]struct {
		before, after stage.Service
		want          []string
	}{
		"nothing": {
			before: stage.Service{Mode: "auto", Hosts: []stage.Host{host(1, "a", "healthy")}},
			after:  stage.Service{Mode: "auto", Hosts: []stage.Host{host(1, "a", "healthy")}},
		},
		"one comes": {
			before: stage.Service{Mode: "auto"},
			after:  stage.Service{Mode: "auto", Hosts: []stage.Host{host(1, "a", "healthy")}},
			want:   []string{"+ 127.0.0.1:1 (a) is there, healthy"},
		},
		"one drains": {
			before: stage.Service{Mode: "auto", Hosts: []stage.Host{host(1, "a", "healthy")}},
			after:  stage.Service{Mode: "auto", Hosts: []stage.Host{host(1, "a", "draining")}},
			want:   []string{"~ 127.0.0.1:1 (a) is draining"},
		},
		"the last one goes": {
			before: stage.Service{Mode: "auto", Hosts: []stage.Host{host(1, "a", "healthy")}},
			want:   []string{"mode: auto → none", "- 127.0.0.1:1 (a) is gone"},
		},
		"another process on the same address": {
			before: stage.Service{Mode: "auto", Hosts: []stage.Host{host(1, "a", "healthy")}},
			after:  stage.Service{Mode: "auto", Hosts: []stage.Host{host(1, "b", "healthy")}},
			want:   []string{"- 127.0.0.1:1 (a) is gone", "+ 127.0.0.1:1 (b) is there, healthy"},
		},
		"an operator adds the same address": {
			before: stage.Service{Mode: "auto", Hosts: []stage.Host{host(1, "a", "healthy")}},
			after:  stage.Service{Mode: "merge", Hosts: []stage.Host{host(1, "a", "healthy"), manual}},
			want:   []string{"mode: auto → merge", "+ 127.0.0.1:1 (manual) is there, healthy"},
		},
	} {
		if got := changes(c.before, c.after); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func TestTakenPortsAreNamedBeforeAnythingStarts(t *testing.T) {
	addrs, err := stage.Fresh()
	if err != nil {
		t.Fatal(err)
	}
	lis, err := net.Listen("tcp", addrs.XDS)
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	err = Run(t.Context(), Options{Out: io.Discard, Binary: "/nonexistent", Addresses: addrs, Upstreams: []int{1, 2, 3}})
	if err == nil || !strings.Contains(err.Error(), addrs.XDS) || strings.Contains(err.Error(), "nonexistent") {
		t.Errorf("error is %v", err)
	}
}
