package probe

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// The defaults of Options.
const (
	DefaultInterval = time.Second
	DefaultTimeout  = 500 * time.Millisecond
)

// Key names an endpoint that is watched: the same address under another id is
// another process.
type Key struct {
	ID   string // the uuid that its answers should carry; "" for a manual host
	Addr netip.AddrPort
}

// Target is an endpoint to watch, and how.
type Target struct {
	Key
	Kind   fleet.ProbeKind // ProbeHTTP or ProbeTCP
	Path   string          // for ProbeHTTP
	Gossip netip.AddrPort  // the second witness; not valid when there is none
}

// Evidence is what is known of an endpoint.
type Evidence struct {
	Verdict  Verdict
	Tried    bool      // a first probe had an outcome of some kind
	Verified bool      // its last answer carried the uuid that was expected
	Late     bool      // its last probe timed out, and its gossip is not heard either
	Since    time.Time // of Verdict
}

// Options says how to probe.
type Options struct {
	Interval time.Duration // between two probes of an endpoint
	Timeout  time.Duration // of one, while nobody else is late
	Dial     func(ctx context.Context, network, address string) (net.Conn, error)
	// Ping asks a member over gossip, several times at once, and reports whether
	// any answer came. It is called from many goroutines and bounds its own wait.
	Ping func(ctx context.Context, t Target) bool
}

// Prober watches endpoints. Run does the work; the other methods may be called
// from any goroutine and never block.
type Prober struct {
	opts    Options
	pulse   *pulse
	crowd   crowd
	changed chan struct{} // capacity one

	handover sync.Mutex    // between two Watch calls
	targets  chan []Target // capacity one, latest wins

	watchers map[Key]watching // owned by Run

	mu       sync.Mutex
	evidence map[Key]Evidence
}

// watching is a watcher that runs.
type watching struct {
	target Target
	stop   context.CancelFunc
}

// New returns a Prober that watches nobody yet.
func New(opts Options) *Prober {
	if opts.Interval <= 0 {
		opts.Interval = DefaultInterval
	}
	if opts.Timeout <= 0 {
		opts.Timeout = DefaultTimeout
	}
	if opts.Dial == nil {
		opts.Dial = new(net.Dialer).DialContext
	}
	return &Prober{
		opts: opts, pulse: newPulse(), changed: make(chan struct{}, 1), targets: make(chan []Target, 1),
		watchers: make(map[Key]watching), evidence: make(map[Key]Evidence),
	}
}

// Watch makes targets the endpoints that are watched, in place of those before.
// The evidence of those that stay is kept.
func (p *Prober) Watch(targets []Target) {
	p.handover.Lock()
	defer p.handover.Unlock()
	select {
	case <-p.targets:
	default:
	}
	p.targets <- targets
}

// Evidence returns what is known, by endpoint.
func (p *Prober) Evidence() map[Key]Evidence {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.evidence)
}

// Woke returns when this process last came back from a pause of a second or more;
// zero when it never did.
func (p *Prober) Woke() time.Time { return p.pulse.wokeAt() }

// Changed receives after Evidence or Woke would answer differently.
func (p *Prober) Changed() <-chan struct{} { return p.changed }

// Run probes until ctx ends, and returns after every connection is closed. It is
// called once.
func (p *Prober) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { p.pulse.run(ctx, p.signal) })
	for {
		select {
		case <-ctx.Done():
			return
		case targets := <-p.targets:
			wanted := make(map[Key]Target, len(targets))
			for _, t := range targets {
				wanted[t.Key] = t
			}
			p.stop(wanted)
			p.start(ctx, &wg, wanted)
		}
	}
}

// stop ends the watchers that are not wanted or not as they are, and forgets the
// evidence of endpoints that are not.
func (p *Prober) stop(wanted map[Key]Target) {
	for key, w := range p.watchers {
		if wanted[key] != w.target {
			w.stop()
			delete(p.watchers, key)
		}
	}
	p.mu.Lock()
	before := len(p.evidence)
	maps.DeleteFunc(p.evidence, func(k Key, _ Evidence) bool { _, ok := wanted[k]; return !ok })
	forgot := len(p.evidence) < before
	p.mu.Unlock()
	if forgot {
		p.signal()
	}
}

// start starts the watchers that are missing. Few endpoints are probed at once,
// very many in the course of an interval. Each goes on in a phase of its own, so
// that all probes are spread evenly in time.
func (p *Prober) start(ctx context.Context, wg *sync.WaitGroup, wanted map[Key]Target) {
	const few = 100
	fresh := len(wanted) - len(p.watchers)
	now := time.Now()
	for key, t := range wanted {
		if _, ok := p.watchers[key]; ok {
			continue
		}
		phase := rand.N(p.opts.Interval)
		if fresh <= few {
			phase -= p.opts.Interval
		}
		watched, stop := context.WithCancel(ctx)
		p.watchers[key] = watching{t, stop}
		w := p.newWatcher(watched, t)
		wg.Go(func() { w.run(watched, now.Add(phase)) })
	}
}

// newWatcher returns a watcher that starts from what is known of its endpoint.
func (p *Prober) newWatcher(ctx context.Context, t Target) *watcher {
	p.mu.Lock()
	known := p.evidence[t.Key]
	p.mu.Unlock()
	return &watcher{
		target: t, opts: &p.opts, pulse: p.pulse, crowd: &p.crowd,
		judge: judge{expect: t.ID, verdict: known.Verdict}, tried: known.Tried, verified: known.Verified, reported: known,
		request: fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: rollcall-probe\r\n\r\n", t.Path, t.Addr),
		events:  make(chan event, 4),
		report: func(e Evidence) {
			p.mu.Lock()
			if ctx.Err() == nil { // else another may watch the same key by now
				p.evidence[t.Key] = e
			}
			p.mu.Unlock()
			p.signal()
		},
	}
}

func (p *Prober) signal() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}
