package xds

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"

	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// varied is a service whose hosts use every field.
func varied() registry.Service {
	s := service("web", hostA, hostB, hostC, "[2001:db8::1]:8080")
	s.Hosts[0].Locality = fleet.Locality{Region: "us", Zone: "us-b"}
	s.Hosts[1].Locality = fleet.Locality{Region: "us", Zone: "us-a"}
	s.Hosts[2].Locality = fleet.Locality{Region: "us", Zone: "us-b"}
	s.Hosts[0].Weight = 50
	s.Hosts[0].Canary = true
	s.Hosts[0].Tags = map[string]string{"version": "2", "stage": "prod"}
	s.Hosts[3].ID = "" // manual
	return s
}

func TestLoadAssignment(t *testing.T) {
	want := `{"cluster_name":"web","endpoints":[
	 {"load_balancing_weight":1,"lb_endpoints":[
	  {"endpoint":{"address":{"socket_address":{"address":"2001:db8::1","port_value":8080}}},"health_status":"HEALTHY","load_balancing_weight":1,
	   "metadata":{"filter_metadata":{"envoy.lb":{"canary":false}}}}]},
	 {"locality":{"region":"us","zone":"us-a"},"load_balancing_weight":1,"lb_endpoints":[
	  {"endpoint":{"address":{"socket_address":{"address":"10.0.0.2","port_value":80}}},"health_status":"HEALTHY","load_balancing_weight":1,
	   "metadata":{"filter_metadata":{"envoy.lb":{"canary":false},"rollcall":{"id":"00000000-0000-4000-8000-000000000001"}}}}]},
	 {"locality":{"region":"us","zone":"us-b"},"load_balancing_weight":51,"lb_endpoints":[
	  {"endpoint":{"address":{"socket_address":{"address":"10.0.0.1","port_value":80}}},"health_status":"HEALTHY","load_balancing_weight":50,
	   "metadata":{"filter_metadata":{"envoy.lb":{"canary":true,"stage":"prod","version":"2"},"rollcall":{"id":"00000000-0000-4000-8000-000000000001"}}}},
	  {"endpoint":{"address":{"socket_address":{"address":"10.0.0.3","port_value":80}}},"health_status":"HEALTHY","load_balancing_weight":1,
	   "metadata":{"filter_metadata":{"envoy.lb":{"canary":false},"rollcall":{"id":"00000000-0000-4000-8000-000000000001"}}}}]}]}`
	var expected endpointv3.ClusterLoadAssignment
	must(t, protojson.Unmarshal([]byte(want), &expected))
	got := loadAssignment("web", staying(varied().Hosts))
	if !proto.Equal(got, &expected) {
		t.Errorf("got %s", protojson.Format(got))
	}
	if err := got.ValidateAll(); err != nil {
		t.Errorf("Envoy's own rules: %v", err)
	}
	if err := loadAssignment("nobody", nil).ValidateAll(); err != nil {
		t.Errorf("Envoy's own rules, of an empty one: %v", err)
	}
}

func TestEqualFleetsGiveEqualBytes(t *testing.T) {
	first := mustEncodeService(t, varied())
	for range 50 {
		s := varied()
		s.Hosts[0].Tags = map[string]string{}
		for _, k := range []string{"stage", "version"} {
			s.Hosts[0].Tags[k] = varied().Hosts[0].Tags[k]
		}
		again := mustEncodeService(t, s)
		if again.version() != first.version() || string(again.encoded().value) != string(first.encoded().value) {
			t.Fatal("equal hosts, other bytes")
		}
	}
}

// Every field that is in the assignment must change its version, and must be
// seen by the comparison that saves the encoding.
func TestEveryFieldChangesTheVersion(t *testing.T) {
	changes := map[string]func(*registry.Host){
		"address":  func(h *registry.Host) { h.Addr = host("10.9.9.9:80").Addr },
		"port":     func(h *registry.Host) { h.Addr = host("10.0.0.1:81").Addr },
		"weight":   func(h *registry.Host) { h.Weight++ },
		"region":   func(h *registry.Host) { h.Locality.Region = "eu" },
		"zone":     func(h *registry.Host) { h.Locality.Zone = "us-c" },
		"canary":   func(h *registry.Host) { h.Canary = !h.Canary },
		"tag":      func(h *registry.Host) { h.Tags = map[string]string{"version": "3", "stage": "prod"} },
		"no tags":  func(h *registry.Host) { h.Tags = nil },
		"id":       func(h *registry.Host) { h.ID = "00000000-0000-4000-8000-000000000002" },
		"id: none": func(h *registry.Host) { h.ID = "" },
	}
	before := mustEncodeService(t, varied())
	for name, edit := range changes {
		t.Run(name, func(t *testing.T) {
			s := varied()
			edit(s.Hosts[0])
			if mustEncodeService(t, s).version() == before.version() {
				t.Error("the version is the same")
			}
			if sameHosts(s.Hosts, varied().Hosts) {
				t.Error("the hosts are taken for the same")
			}
		})
	}
	if mustEncode("a").version() == mustEncode("b").version() {
		t.Error("two empty services have one version")
	}
}

func TestBadEndpointsAreLeftOutAndLogged(t *testing.T) {
	bad := []*registry.Host{host("0.0.0.0:80"), host("10.0.0.4:0"), host("10.0.0.5:80"), host("10.0.0.6:80")}
	bad[2].Weight = 0
	bad[3].Tags = map[string]string{"tag": "\xff"}
	s := service("web", hostA)
	s.Hosts = append(s.Hosts, bad...)
	rand.Shuffle(len(s.Hosts), func(i, j int) { s.Hosts[i], s.Hosts[j] = s.Hosts[j], s.Hosts[i] })

	var log lines
	server := start(t, Options{Logger: log.logger()})
	snap := settled(registry.Service{Name: "no/service", Hosts: service("", hostB).Hosts}, s)
	server.Update(snap)
	server.Update(snap)
	c := openEDS(t, server.conn)
	c.subscribe("web")
	next(t, c, "1", "web: "+hostA)
	named := log.with("level=ERROR", "web")
	if len(named) != 1 {
		t.Fatalf("logged %d times: %q", len(named), named)
	}
	for _, h := range bad {
		if !strings.Contains(named[0], h.Addr.String()) {
			t.Errorf("%s is not named in %q", h.Addr, named[0])
		}
	}
	if got := log.with("level=ERROR", "no/service"); len(got) == 0 {
		t.Error("the service with a slash is not named")
	}
}

func TestUnservedEndpointsAreNotInTheAssignment(t *testing.T) {
	s := service("web", hostA, hostB)
	s.Hosts[1].Served = false
	server := start(t, Options{})
	server.Update(settled(s))
	c := openDeltaEDS(t, server.conn)
	c.subscribe("web")
	next(t, c, "1", "web: "+hostA)
}

func mustEncodeService(t *testing.T, s registry.Service) *assignment {
	t.Helper()
	hosts, bad := sift(s, nil)
	must(t, bad)
	a := newAssignment(s.Name, staying(hosts), nil)
	a.encoded()
	must(t, a.err)
	return a
}

func TestSiftOfUnchangedEndpointsEqualsAFullCheck(t *testing.T) {
	var some []*registry.Host
	for i := range 24 {
		h := host(fmt.Sprintf("10.0.0.%d:80", 1+i/4)) // some claim one address
		h.Served, h.Weight = i%4 != 3, uint32(i%5)    // and some of weight 0 are bad
		some = append(some, h)
	}
	rapid.Check(t, func(t *rapid.T) {
		var before []*registry.Host
		for range rapid.IntRange(1, 5).Draw(t, "snapshots") {
			s := registry.Service{Name: "web"}
			for _, h := range some {
				switch rapid.IntRange(0, 3).Draw(t, "host") {
				case 0:
				case 1:
					s.Hosts = append(s.Hosts, new(*h))
				default:
					s.Hosts = append(s.Hosts, h)
				}
			}
			want := slices.DeleteFunc(s.Served(), func(h *registry.Host) bool { return h.Check() != nil })
			good, bad := sift(s, before)
			if !slices.Equal(good, want) || (bad != nil) != (len(want) < len(s.Served())) {
				t.Fatalf("%d are good of %d, and %v; want %d", len(good), len(s.Hosts), bad, len(want))
			}
			before = good
		}
	})
}
