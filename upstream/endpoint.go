package upstream

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/rollcall-fleet/rollcall/gossip"
)

// RegisterEndpoint is [Register] for an endpoint that another process serves at
// addr. The caller watches that process and reports its health with
// [Registration.SetHealthy]; Serve cannot be used. Gossip is bound to [EndpointGossip],
// unless [WithGossip] is given. [WithHealthPath] or [WithProbe] set what EDS servers may
// check.
func RegisterEndpoint(ctx context.Context, addr netip.AddrPort, svc Service, opts ...Option) (*Registration, error) {
	o := endpointOptions(opts)
	if !o.gossip.IsValid() {
		var err error
		if o.gossip, err = EndpointGossip(ctx, addr, o.seeds); err != nil {
			return nil, fmt.Errorf("register service %q: %w", svc.Name, err)
		}
	}
	return register(ctx, net.TCPAddrFromAddrPort(addr), svc, o)
}

// EndpointGossip returns the address, with port 0, at which to gossip for an endpoint at addr:
// addr's IP address if it belongs to this machine, which proves that the endpoint runs here;
// otherwise the address from which this machine reaches a seed given by IP address, on
// another machine if possible; without such a seed, the one from which it reaches addr. It
// sends nothing.
func EndpointGossip(ctx context.Context, addr netip.AddrPort, seeds []string) (netip.AddrPort, error) {
	here, err := sourceTo(ctx, addr)
	if err == nil && (here.Addr() == addr.Addr().Unmap() || here.Addr().IsLoopback()) {
		return here, nil
	}
	var local netip.AddrPort
	for _, seed := range seeds {
		to, ok := gossip.SeedAddr(seed)
		if !ok {
			continue
		}
		source, err := sourceTo(ctx, to)
		switch {
		case err != nil:
		case source.Addr().IsLoopback():
			local = source
		default:
			return source, nil
		}
	}
	if local.IsValid() {
		return local, nil
	}
	return here, err
}

// CheckEndpoint returns the error that RegisterEndpoint would return for an invalid
// announcement. It announces nothing.
func CheckEndpoint(addr netip.AddrPort, svc Service, opts ...Option) error {
	_, err := newMember(net.TCPAddrFromAddrPort(addr), svc, endpointOptions(opts))
	return err
}

func endpointOptions(opts []Option) options {
	o := newOptions(opts)
	o.probe.OnBehalf = true
	return o
}

// sourceTo returns the address, with port 0, from which this machine reaches addr. It sends
// nothing.
func sourceTo(ctx context.Context, addr netip.AddrPort) (netip.AddrPort, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "udp", addr.String())
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("no gossip address found, since this machine has no route to %s: set option WithGossip: %w", addr.Addr(), err)
	}
	defer conn.Close()
	source, err := listenAddr(conn.LocalAddr())
	return netip.AddrPortFrom(source.Addr(), 0), err
}
