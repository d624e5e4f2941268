package probe

import (
	"context"
	"fmt"
	"maps"
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

// lateFor is how long a time-out counts as a sign that the network, or this
// process, is slow for others too.
const lateFor = 3 * time.Second

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
	Verified bool      // an answer carried the uuid that was expected
	Late     bool      // its last probe timed out
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
	changed chan struct{}
	targets chan []Target // capacity one, latest wins

	handover sync.Mutex // between two Watch calls

	mu       sync.Mutex
	evidence map[Key]Evidence
	woke     time.Time
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
	return &Prober{opts: opts, pulse: newPulse(), changed: make(chan struct{}, 1),
		targets: make(chan []Target, 1), evidence: make(map[Key]Evidence)}
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
func (p *Prober) Woke() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.woke
}

// Changed receives after Evidence or Woke would answer differently.
func (p *Prober) Changed() <-chan struct{} { return p.changed }

// Run probes until ctx ends, and returns after every connection is closed.
func (p *Prober) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { p.pulse.run(ctx, p.onWake) })
	type running struct {
		target Target
		cancel context.CancelFunc
	}
	watchers := make(map[Key]running)
	for {
		select {
		case <-ctx.Done():
			return
		case targets := <-p.targets:
			wanted := make(map[Key]Target, len(targets))
			for _, t := range targets {
				wanted[t.Key] = t
			}
			for key, r := range watchers {
				if wanted[key] != r.target {
					r.cancel()
					delete(watchers, key)
				}
			}
			p.forget(wanted)
			fresh := len(wanted) - len(watchers)
			for key, t := range wanted {
				if _, ok := watchers[key]; ok {
					continue
				}
				watched, cancel := context.WithCancel(ctx)
				watchers[key] = running{t, cancel}
				w := p.newWatcher(watched, t)
				delay := spread(len(watchers), fresh, p.opts.Interval)
				wg.Go(func() { w.run(watched, delay) })
			}
		}
	}
}

// spread delays the first probe when very many endpoints come at once.
func spread(i, n int, interval time.Duration) time.Duration {
	const atOnce = 100
	if n <= atOnce {
		return 0
	}
	return interval * time.Duration(i%n) / time.Duration(n)
}

func (p *Prober) newWatcher(ctx context.Context, t Target) *watcher {
	return &watcher{
		target: t, opts: &p.opts, pulse: p.pulse, crowd: &p.crowd, judge: judge{expect: t.ID},
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

func (p *Prober) forget(wanted map[Key]Target) {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.evidence, func(k Key, _ Evidence) bool { _, ok := wanted[k]; return !ok })
}

func (p *Prober) onWake() {
	p.mu.Lock()
	p.woke = time.Now()
	p.mu.Unlock()
	p.signal()
}

func (p *Prober) signal() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}
