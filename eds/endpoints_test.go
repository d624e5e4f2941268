package eds

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// endpoints are the serving ports of a world, and its gossip ports as far as a
// probe dials them: by IP address, since a machine dies as a whole here.
type endpoints struct {
	mu     sync.Mutex
	ids    map[netip.Addr]string // who serves; the others refuse
	silent map[netip.Addr]bool
	deaf   bool // nothing reaches the prober
	conns  map[netip.Addr][]net.Conn
}

func newEndpoints() *endpoints {
	return &endpoints{ids: make(map[netip.Addr]string), silent: make(map[netip.Addr]bool), conns: make(map[netip.Addr][]net.Conn)}
}

// set changes what is there, and closes the connections of who died.
func (e *endpoints) set(change func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	change()
	for addr, conns := range e.conns {
		if e.ids[addr] == "" {
			for _, c := range conns {
				_ = c.Close()
			}
			delete(e.conns, addr)
		}
	}
}

func (e *endpoints) mute(addr netip.Addr) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.deaf || e.silent[addr]
}

// dial connects to who serves at address.
func (e *endpoints) dial(ctx context.Context, _, address string) (net.Conn, error) {
	addr := netip.MustParseAddrPort(address).Addr()
	if e.mute(addr) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	id := e.ids[addr]
	if id == "" {
		return nil, &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	}
	client, server := net.Pipe()
	e.conns[addr] = append(e.conns[addr], server)
	go e.serve(addr, id, server)
	return client, nil
}

// serve answers until the connection breaks; silence swallows the answers.
func (e *endpoints) serve(addr netip.Addr, id string, conn net.Conn) {
	defer conn.Close()
	r := bufio.NewReader(conn)
	for {
		if _, err := http.ReadRequest(r); err != nil {
			return
		}
		if e.mute(addr) {
			continue
		}
		if _, err := fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\n%s: %s\r\nContent-Length: 0\r\n\r\n", fleet.IDHeader, id); err != nil {
			return
		}
	}
}

// serving is the member of an endpoint that it opens, where it gossips.
func (w *world) serving(at netip.AddrPort) fleet.Member {
	id := uuid.New()
	w.endpoints.set(func() { w.endpoints.ids[at.Addr()] = id.String() })
	return fleet.Member{
		ID: id, Role: fleet.RoleUpstream, Started: time.Now(), Version: fleet.FormatVersion, Service: service,
		Endpoint: fleet.Endpoint{Addr: netip.AddrPortFrom(at.Addr(), 8080), Weight: 1, Health: fleet.Healthy},
		Probe:    fleet.Probe{Kind: fleet.ProbeHTTP, Path: fleet.DefaultHealthPath},
	}
}
