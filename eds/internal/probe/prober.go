package probe

import (
	"context"
	"maps"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/internal/latest"
	"github.com/rollcall-fleet/rollcall/internal/turns"
)

// The defaults of Options.
const (
	DefaultInterval = time.Second
	DefaultTimeout  = 500 * time.Millisecond
)

// Key names an endpoint that is watched: the same address under another id is
// another process.
type Key struct {
	ID   string // the uuid that its answers should carry; "" for a manual endpoint
	Addr netip.AddrPort
}

// Target is an endpoint to watch, and how.
type Target struct {
	Key
	Kind   fleet.ProbeKind // ProbeNone: its member's process is asked, over a stream
	Path   string          // for ProbeHTTP
	Gossip netip.AddrPort  // the second witness; not valid when there is none

	// Foreign says that the endpoint is a program that knows nothing of rollcall. It may
	// serve one connection at a time, so none stands idle and there is one at most.
	Foreign bool

	Interval, Timeout time.Duration // of the checks; 0 stands for those of Options

	// Turn is this server's place among those that check a foreign program.
	Turn turns.Turn
}

// Evidence is what is known of an endpoint.
type Evidence struct {
	Verdict  Verdict
	Tried    bool      // a first probe had an outcome of some kind
	Verified bool      // its last answer carried the uuid that was expected
	Named    bool      // one of its answers carried it: one that does not is not its own
	Unable   bool      // its state is unknown: its member does not accept streams
	Alone    bool      // its member's process has ended, and its port accepts connections
	Late     bool      // its last probe timed out, and its gossip is not heard either
	Since    time.Time // of Verdict
}

// Options says how to probe.
type Options struct {
	Interval time.Duration // between two probes of an endpoint
	Timeout  time.Duration // of one, while no other endpoint is late
	Dial     func(ctx context.Context, network, address string) (net.Conn, error)
	// Stream opens a stream to the member of a target of ProbeNone. It wraps ErrNoStream
	// for one that takes none, else the error of the dial. Nil: no member takes one.
	Stream func(ctx context.Context, t Target) (Stream, error)
	// Ping asks a member over gossip, several times at once, and reports whether
	// any answer came. It is called from many goroutines and bounds its own wait.
	Ping func(ctx context.Context, t Target) bool
	// Challenge asks a member over UDP to prove that its process lives, in a way that
	// nothing but that process can answer, and reports whether it did. It is called as
	// Ping is. Nil: a refusal of both ports is proof enough.
	Challenge func(ctx context.Context, t Target) bool
	// Elsewhere has a few others challenge a member from other addresses, and reports
	// whether it answered one of them. It is called as Ping is. Nil: there are no others.
	Elsewhere func(ctx context.Context, t Target) bool
}

// Prober watches endpoints. Run does the work; the other methods may be called
// from any goroutine and never block.
type Prober struct {
	opts    Options
	pulse   *pulse
	changed latest.Signal
	urgent  latest.Signal
	checks  chan netip.AddrPort // bounded; never waited for

	handover sync.Mutex // between two Watch calls
	targets  latest.Value[[]Target]

	mu       sync.Mutex
	evidence map[Key]Evidence
	shared   map[Key]Evidence // a copy that readers hold; nil once it is out of date
	revision uint64
}

// New returns a Prober without targets.
func New(opts Options) *Prober {
	if opts.Interval <= 0 {
		opts.Interval = DefaultInterval
	}
	if opts.Timeout <= 0 {
		opts.Timeout = DefaultTimeout
	}
	if opts.Stream == nil {
		opts.Stream = func(context.Context, Target) (Stream, error) { return nil, ErrNoStream }
	}
	if opts.Dial == nil {
		opts.Dial = new(net.Dialer).DialContext
	}
	return &Prober{
		opts: opts, pulse: newPulse(), changed: latest.NewSignal(), urgent: latest.NewSignal(), checks: make(chan netip.AddrPort, maxChecks), targets: latest.New[[]Target](),
		evidence: make(map[Key]Evidence), revision: 1,
	}
}

// Watch makes targets the endpoints that are watched, in place of those before.
// The evidence of those that stay is kept.
func (p *Prober) Watch(targets []Target) {
	p.handover.Lock()
	defer p.handover.Unlock()
	p.targets.Put(targets)
}

// maxChecks are asked for and not yet under way; later ones are dropped.
const maxChecks = 1024

// Check has the endpoints at an address checked now: something may have happened there.
func (p *Prober) Check(addr netip.AddrPort) {
	select {
	case p.checks <- addr:
	default:
	}
}

// Evidence returns what is known, by endpoint. It is the same map as long as
// nothing changes. Callers must not modify it.
func (p *Prober) Evidence() map[Key]Evidence {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shared == nil {
		p.shared = maps.Clone(p.evidence)
	}
	return p.shared
}

// Revision counts the changes of Evidence. Who asks for it first, and then for
// Evidence, has at least what the revision stands for.
func (p *Prober) Revision() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.revision
}

// Woke returns when this process last came back from a pause of a second or more;
// zero when it never did.
func (p *Prober) Woke() time.Time { return p.pulse.wokeAt() }

// Changed receives after Evidence or Woke would answer differently.
func (p *Prober) Changed() <-chan struct{} { return p.changed }

// Urgent receives after the evidence has turned against an endpoint that was good.
func (p *Prober) Urgent() <-chan struct{} { return p.urgent }

// Run probes until ctx ends, and returns after every connection is closed. It is
// called once.
func (p *Prober) Run(ctx context.Context) {
	l := newLoop(ctx, p)
	l.wg.Go(func() { p.pulse.run(ctx, p.changed.Set) })
	l.run()
}

func (p *Prober) known(k Key) Evidence {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.evidence[k]
}

func (p *Prober) report(k Key, e Evidence) {
	p.mu.Lock()
	was := p.evidence[k]
	p.evidence[k] = e
	p.outdated()
	p.mu.Unlock()
	p.changed.Set()
	if was.Verdict == Good && e.Verdict != Good {
		p.urgent.Set()
	}
}

func (p *Prober) forget(k Key) {
	p.mu.Lock()
	delete(p.evidence, k)
	p.outdated()
	p.mu.Unlock()
	p.changed.Set()
}

// outdated notes a change of the evidence. The caller holds mu.
func (p *Prober) outdated() {
	p.shared = nil
	p.revision++
}
