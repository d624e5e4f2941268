package xds

import (
	"fmt"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// longest are as many names as a stream may ask for, each as long as a service's may be.
func longest() (names []string, versions map[string]string) {
	versions = make(map[string]string, DefaultMaxNames)
	for i := range DefaultMaxNames {
		name := fmt.Sprintf("%0*d", fleet.MaxServiceName, i)
		names = append(names, name)
		versions[name] = strings.Repeat("f", versionRoom/2)
	}
	return names, versions
}

func TestAClientMayReconnectWithAsManyNamesAsItMayAskFor(t *testing.T) {
	s := start(t, Options{})
	s.Update(settled())
	names, versions := longest()
	fat := &corev3.Node{Id: "envoy-1"}
	for i := range 500 { // as Envoy has
		fat.Extensions = append(fat.Extensions, &corev3.Extension{Name: fmt.Sprintf("envoy.filters.http.number_%d", i), Category: "envoy.filters.http"})
	}
	delta := openDeltaADS(t, s.conn)
	delta.send(&discoveryv3.DeltaDiscoveryRequest{Node: fat, ResourceNamesSubscribe: names, InitialResourceVersions: versions})
	r, err := delta.recv()
	must(t, err)
	if len(r.hosts) != len(names) {
		t.Errorf("delta: %d names are answered, want %d", len(r.hosts), len(names))
	}
	sotw := openADS(t, s.conn)
	sotw.send(&discoveryv3.DiscoveryRequest{Node: fat, ResourceNames: names})
	r, err = sotw.recv()
	must(t, err)
	if len(r.hosts) != len(names) {
		t.Errorf("state of the world: %d names are answered, want %d", len(r.hosts), len(names))
	}
}

func TestARequestThatIsTooLargeIsRefused(t *testing.T) {
	s := start(t, Options{MaxNames: 10})
	s.Update(settled())
	c := openADS(t, s.conn)
	c.send(&discoveryv3.DiscoveryRequest{ResourceNames: []string{strings.Repeat("x", requestSize(10))}})
	wantEnd(t, c, codes.ResourceExhausted, "larger than max")
}

// What Envoy says about itself is 150 KB, of which its id is used.
func TestOnlyTheIDOfANodeIsKept(t *testing.T) {
	node := &corev3.Node{Id: "envoy-1", Cluster: "c", Extensions: []*corev3.Extension{{Name: "x"}}}
	got := slim(node)
	if got.GetId() != "envoy-1" || got.GetCluster() != "" || len(got.GetExtensions()) > 0 {
		t.Errorf("kept %v", got)
	}
	if long := slim(&corev3.Node{Id: strings.Repeat("x", 1<<20)}); len(long.GetId()) > maxNameLen {
		t.Errorf("an id of %d bytes is kept", len(long.GetId()))
	}
	if slim(nil) != nil {
		t.Error("no node became one: go-control-plane would forget the first one")
	}
}
