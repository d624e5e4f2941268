package upstream

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/rollcall-fleet/rollcall/gossip"
)

// RegisterEndpoint is [Register] for an endpoint that another process serves at
// addr. The caller watches that process and says so with
// [Registration.SetHealthy]; the registration has nothing to Serve. Gossip is bound
// to [EndpointGossip], unless [WithGossip] says otherwise. Set with
// [WithHealthPath] or [WithProbe] what EDS servers may check.
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

// EndpointGossip is where to gossip for an endpoint at addr, with port 0: at its IP
// address when that is this machine's, which proves that the endpoint is here; else
// at the address from which this machine reaches the first seed that is an IP
// address, of another machine if there is one; or addr when no seed is one. It sends
// nothing.
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

// CheckEndpoint returns the error that RegisterEndpoint would return because of
// what is to be announced. It announces nothing.
func CheckEndpoint(addr netip.AddrPort, svc Service, opts ...Option) error {
	_, err := newMember(net.TCPAddrFromAddrPort(addr), svc, endpointOptions(opts))
	return err
}

func endpointOptions(opts []Option) options {
	o := newOptions(opts)
	o.probe.OnBehalf = true
	return o
}

// sourceTo is the address, with port 0, from which this machine reaches addr. It
// sends nothing.
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
