package gossip

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/rollcall-fleet/rollcall/internal/latest"
)

// lookupTimeout bounds one look-up of a name. Go's resolver gives a nameserver 5 s
// before it asks the next one, and asks all of them twice.
const lookupTimeout = 30 * time.Second

// names looks up the host names of seeds in the background, so that a nameserver that
// is slow or silent delays no other look-up.
type names struct {
	lookup lookupFunc
	news   latest.Signal // a look-up has found something else than before

	wg sync.WaitGroup

	mu     sync.Mutex
	byHost map[string]*hostName
}

// hostName is what is known of one.
type hostName struct {
	since time.Time // of the look-up under way; zero when there is none
	addrs []netip.Addr
	err   error // of the last one that ended
	ended bool
}

func newNames(lookup lookupFunc) *names {
	return &names{lookup: lookup, news: latest.NewSignal(), byHost: make(map[string]*hostName)}
}

// start looks host up, unless that is under way.
func (n *names) start(ctx context.Context, host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.byHost[host]
	if h == nil {
		h = &hostName{}
		n.byHost[host] = h
	}
	if !h.since.IsZero() {
		return
	}
	h.since = time.Now()
	n.wg.Go(func() {
		bounded, cancel := context.WithTimeout(ctx, lookupTimeout)
		defer cancel()
		addrs, err := n.lookup(bounded, host)
		if ctx.Err() == nil {
			n.end(h, addrs, err)
		}
	})
}

// end notes what came of a look-up. Where it failed, the addresses from before still
// count, unless there is no such name any more.
func (n *names) end(h *hostName, addrs []netip.Addr, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if dns, ok := errors.AsType[*net.DNSError](err); err != nil && (!ok || !dns.IsNotFound) {
		addrs = h.addrs
	}
	news := !h.ended || (err == nil) != (h.err == nil) || !sameAddrs(addrs, h.addrs)
	*h = hostName{addrs: addrs, err: err, ended: true}
	if news {
		n.news.Set()
	}
}

// known returns what is known of host, which start was called for.
func (n *names) known(host string) hostName {
	n.mu.Lock()
	defer n.mu.Unlock()
	return *n.byHost[host]
}

// sameAddrs reports whether a and b have the same addresses: nameservers turn their order.
func sameAddrs(a, b []netip.Addr) bool {
	in := make(map[netip.Addr]bool, len(a))
	for _, addr := range a {
		in[addr] = true
	}
	for _, addr := range b {
		if !in[addr] {
			return false
		}
	}
	return len(a) == len(b)
}
