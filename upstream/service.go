package upstream

import (
	"cmp"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// Service describes the service that a listener serves. Name, the EDS service name, is
// required. The service, its address and the longest later state must fit into
// [fleet.MaxMeta] bytes.
type Service struct {
	Name   string
	Weight uint32 // load balancing weight, 1 to 65535; 0 stands for 1
	Region string
	Zone   string
	Canary bool
	Tags   map[string]string // further tags for subset load balancing
}

// newMember returns the first announcement of svc at ln, and checks it.
func newMember(ln net.Addr, svc Service, opts options) (fleet.Member, error) {
	addr, err := endpointAddr(ln, opts.advertise)
	if err != nil {
		return fleet.Member{}, err
	}
	id := opts.id
	if id == uuid.Nil {
		id = uuid.New()
	}
	m := fleet.Member{
		ID: id, Role: fleet.RoleUpstream, Version: fleet.FormatVersion,
		Started: now(),
		Service: svc.Name,
		Endpoint: fleet.Endpoint{
			Addr: addr, Weight: cmp.Or(svc.Weight, fleet.DefaultWeight),
			Locality: fleet.Locality{Region: svc.Region, Zone: svc.Zone},
			Canary:   svc.Canary, Tags: maps.Clone(svc.Tags), Health: fleet.Healthy,
		},
		Probe: opts.probe,
	}
	return m, opts.check(m)
}

// now is the current time in the precision of metadata.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// endpointAddr is the address for Envoy: the advertised one, with the listener's port if it has
// none, or the listener's.
func endpointAddr(ln net.Addr, advertise netip.AddrPort) (netip.AddrPort, error) {
	bound, err := listenAddr(ln)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if advertise.IsValid() {
		return netip.AddrPortFrom(advertise.Addr().Unmap(), cmp.Or(advertise.Port(), bound.Port())), nil
	}
	if bound.Addr().IsUnspecified() {
		return netip.AddrPort{}, fmt.Errorf("listener on %s is on every interface: set option WithAdvertise to the address at which clients reach it", bound)
	}
	return bound, nil
}

// gossipBind is the default address for gossip: the listener's IP address, which certainly
// belongs to this machine, or else the advertised one.
func gossipBind(ln net.Addr, endpoint netip.AddrPort) (netip.AddrPort, error) {
	bound, err := listenAddr(ln)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if bound.Addr().IsUnspecified() {
		return netip.AddrPortFrom(endpoint.Addr(), 0), nil
	}
	return netip.AddrPortFrom(bound.Addr(), 0), nil
}

func listenAddr(ln net.Addr) (netip.AddrPort, error) {
	addr, err := netip.ParseAddrPort(ln.String())
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("listener on %s %s is not on an IP address and port", ln.Network(), ln)
	}
	return netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port()), nil
}
