package main

import (
	"context"
	"fmt"
	"io"
	"time"
)

// bench is one run.
type bench struct {
	self  string // this program
	short bool
}

// row is one load, and what is measured with it.
type row struct {
	name string
	run  func(ctx context.Context, b *bench, w io.Writer) error
}

const (
	rounds = 2 // in turns, each with servers of its own
	settle = 50 * time.Millisecond
)

// fanOut is one service that changes, and how long it takes until all have it.
type fanOut struct {
	load
	clients int
	delta   bool
	narrow  int // so many clients have HTTP/2's own windows, as gRPC's have at first
	kinds   []string
	trials  map[string]int // of one round
	want    limits
}

// limits are what a row must reach on two cores; zero for no limit.
type limits struct {
	all, cpu, blocked time.Duration
	peak              int     // MB
	faster, leaner    float64 // than LinearCache
}

var libraries = []string{"snapshot", "linear", "rollcall"}

var rows = []row{
	fanOut{load{1, 1_000}, 1_000, false, 0, libraries, map[string]int{"snapshot": 5, "linear": 30, "rollcall": 30},
		limits{all: 150 * time.Millisecond, peak: 100}}.row(),
	fanOut{load{1, 10_000}, 1_000, false, 0, libraries, map[string]int{"snapshot": 1, "linear": 10, "rollcall": 10},
		limits{all: 500 * time.Millisecond, peak: 100, leaner: 5}}.row(),
	fanOut{load{1, 10_000}, 1_000, false, 1_000, libraries[1:], map[string]int{"linear": 5, "rollcall": 5},
		limits{peak: 100, leaner: 5}}.row(),
	fanOut{load{1_000, 10}, 1_000, true, 0, libraries[1:], map[string]int{"linear": 10, "rollcall": 30},
		limits{all: 150 * time.Millisecond, cpu: 100 * time.Millisecond, blocked: 5 * time.Millisecond, peak: 160, faster: 5}}.row(),
	{"burst of 200 changes, 200 streams", burst},
	{"1 of 1,000 clients stops reading", stopsReading},
	{"1,000 pollers over REST, 1 s", pollers},
	{"20 Envoys", envoys},
}

func (f fanOut) row() row {
	protocol := "streams"
	if f.delta {
		protocol = "delta streams"
	}
	if f.narrow > 0 {
		protocol += " with narrow windows"
	}
	return row{fmt.Sprintf("%d %s, %d services of %d endpoints", f.clients, protocol, f.Services, f.Endpoints), f.run}
}

// result is what was measured of one cache.
type result struct {
	all, cpu, blocked []time.Duration
	peak, live        int
}

func (f fanOut) run(ctx context.Context, b *bench, w io.Writer) error {
	n := rounds
	if b.short {
		f.clients, f.Endpoints, f.Services, n = f.clients/20, max(f.Endpoints/20, 1), max(f.Services/20, 1), 1
	}
	results := make(map[string]*result)
	for _, kind := range f.kinds {
		results[kind] = new(result)
	}
	for range n {
		for _, kind := range f.kinds {
			trials := f.trials[kind]
			if b.short {
				trials = 2
			}
			if err := f.measure(ctx, b, kind, trials, results[kind]); err != nil {
				return fmt.Errorf("%s: %w", kind, err)
			}
		}
	}
	f.print(w, results)
	return nil
}

// measure adds what one server of a kind does to r.
func (f fanOut) measure(ctx context.Context, b *bench, kind string, trials int, r *result) error {
	return b.with(ctx, kind, f, func(c *child, clients *crowd) error {
		for mark := 1; mark <= trials; mark++ {
			before, err := c.tell(order{Do: doStats})
			if err != nil {
				return err
			}
			took, blocked, err := once(c, clients, order{Do: doChange, Service: f.Services / 2, Mark: mark})
			if err != nil {
				return err
			}
			time.Sleep(settle) // for the acknowledgements
			after, err := c.tell(order{Do: doStats})
			if err != nil {
				return err
			}
			r.all, r.blocked, r.cpu = append(r.all, took), append(r.blocked, blocked), append(r.cpu, after.CPUBefore-before.CPU)
			r.peak, r.live = max(r.peak, after.Peak), max(r.live, after.Live)
		}
		return nil
	})
}

// with runs do while a server of a kind serves the load to the clients.
func (b *bench) with(ctx context.Context, kind string, f fanOut, do func(*child, *crowd) error) error {
	c, err := b.start(kind)
	if err != nil {
		return err
	}
	defer c.stop()
	if _, err := c.tell(order{Do: doLoad, Load: f.load}); err != nil {
		return err
	}
	clients, err := connect(ctx, c.hello.GRPC, f)
	if err != nil {
		return err
	}
	defer clients.close()
	time.Sleep(settle)
	return do(c, clients)
}

// once makes changes and waits until every client has the last one.
func once(c *child, clients *crowd, o order) (took, blocked time.Duration, err error) {
	clients.expect(o.Mark + max(o.Times, 1) - 1)
	a, err := c.tell(o)
	if err != nil {
		return 0, 0, err
	}
	seen, err := clients.wait()
	if err != nil {
		return 0, 0, err
	}
	return seen[len(seen)-1].Sub(a.At), a.Blocked, nil
}
