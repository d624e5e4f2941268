package run

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-fleet/rollcall/fleet"
)

const (
	ever      = 1000 * time.Hour
	drainTime = 5 * time.Second
)

// story is what happens to a supervisor; times count from its start.
type story struct {
	lives    []script
	restart  bool
	register error
	signals  map[time.Duration]syscall.Signal
	cancel   time.Duration
	failed   time.Duration // of the registration
	taken    []span        // when another process answers at the address
}

// script is what a program does in one life; further lives repeat the last one.
type script struct {
	sick  []span        // when its health check fails; it passes otherwise
	lasts time.Duration // zero: until SIGTERM
	code  int           // with which it ends by itself
	takes time.Duration // to end after SIGTERM
}

type span struct{ from, to time.Duration } // since the start of the life

// world plays a story in virtual time, and records what the supervisor does.
type world struct {
	story
	began time.Time

	mu      sync.Mutex
	journal []string
	lived   int
	now     *fakeProcess // the one that runs
	failure chan error
}

func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.journal = append(w.journal, fmt.Sprintf("%v %s", time.Since(w.began).Round(time.Millisecond), fmt.Sprintf(format, args...)))
}

func (w *world) start() (process, error) {
	w.note("start")
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.lives[min(w.lived, len(w.lives)-1)]
	w.lived++
	w.now = &fakeProcess{world: w, script: s, began: time.Now(), ended: make(chan exit, 1)}
	if s.lasts > 0 {
		w.now.endsIn(s.lasts, s.code)
	}
	return w.now, nil
}

func (w *world) free(context.Context) error {
	now := time.Since(w.began)
	if slices.ContainsFunc(w.taken, func(s span) bool { return s.from <= now && now < s.to }) {
		w.note("taken")
		return errors.New("another process answers")
	}
	return nil
}

func (w *world) check(context.Context) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	age := time.Since(w.now.began)
	if slices.ContainsFunc(w.now.sick, func(s span) bool { return s.from <= age && age < s.to }) {
		return errors.New("it is sick")
	}
	return nil
}

type fakeProcess struct {
	*world
	script
	began time.Time
	once  sync.Once
	ended chan exit
}

func (p *fakeProcess) endsIn(d time.Duration, code int) {
	time.AfterFunc(d, func() {
		p.once.Do(func() {
			p.note("program ends")
			p.ended <- exit{code, fmt.Sprint("code ", code)}
		})
	})
}

func (p *fakeProcess) pid() int          { return 1 }
func (p *fakeProcess) done() <-chan exit { return p.ended }
func (p *fakeProcess) kill()             { p.note("kill"); p.endsIn(0, 137) }

func (p *fakeProcess) signal(s os.Signal) {
	p.note("%s", s)
	if s == syscall.SIGTERM {
		p.endsIn(p.takes, 0)
	}
}

// sweep takes a moment, so that other goroutines can run.
func (p *fakeProcess) sweep(time.Duration) { time.Sleep(time.Millisecond); p.note("sweep") }

type fakeRegistration struct{ *world }

func (r fakeRegistration) SetHealthy(healthy bool) error {
	r.note("publish healthy: %v", healthy)
	return nil
}

func (r fakeRegistration) Drain(ctx context.Context) error {
	r.note("drain")
	select {
	case <-time.After(drainTime):
		r.note("drained")
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (fakeRegistration) EDSServers() int { return 0 }

func (r fakeRegistration) Failed() <-chan error { return r.failure }
func (r fakeRegistration) Close() error         { r.note("leave"); return nil }

// tell plays s, and returns the journal and the result of the supervisor.
func tell(t *testing.T, s story) (journal []string, code int, err error) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{story: s, began: time.Now(), failure: make(chan error, 1)}
		signals := make(chan os.Signal, 8)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		for at, sig := range s.signals {
			defer time.AfterFunc(at, func() { signals <- sig }).Stop()
		}
		if s.cancel > 0 {
			defer time.AfterFunc(s.cancel, cancel).Stop()
		}
		if s.failed > 0 {
			defer time.AfterFunc(s.failed, func() { w.failure <- errors.New("gossip is wedged") }).Stop()
		}
		o := &Options{
			Endpoint: Endpoint{
				Health: Health{Check: w.check}, HealthInterval: DefaultHealthInterval,
				HealthTimeout: DefaultHealthTimeout, StartTimeout: DefaultStartTimeout, Logger: slog.New(slog.DiscardHandler),
			},
			Program: []string{"program"}, Signals: signals, RestartOnFailure: s.restart,
			StopTimeout: DefaultStopTimeout,
		}
		register := func(context.Context) (registration, error) {
			w.note("register")
			return fakeRegistration{w}, s.register
		}
		v := &supervisor{opts: o, start: w.start, free: w.free, membership: membership{endpoint: &o.Endpoint, register: register}}
		code, err = v.run(ctx)
		journal = w.journal
	})
	return journal, code, err
}

func TestTheEndOfADrainIsLogged(t *testing.T) {
	for name, follow := range map[string]func(ctx context.Context, w *world, o *Options, register func(context.Context) (registration, error)) error{
		"run": func(ctx context.Context, w *world, o *Options, register func(context.Context) (registration, error)) error {
			_, err := (&supervisor{opts: o, start: w.start, free: w.free, membership: membership{endpoint: &o.Endpoint, register: register}}).run(ctx)
			return err
		},
		"register": func(ctx context.Context, w *world, o *Options, register func(context.Context) (registration, error)) error {
			_, _ = w.start()
			return o.Endpoint.follow(ctx, &membership{endpoint: &o.Endpoint, register: register})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log bytes.Buffer
				w := &world{story: story{lives: []script{{}}}, began: time.Now(), failure: make(chan error, 1)}
				o := &Options{Program: []string{"program"}, StopTimeout: DefaultStopTimeout, Endpoint: Endpoint{
					Health: Health{Check: w.check}, HealthInterval: DefaultHealthInterval, HealthTimeout: DefaultHealthTimeout,
					StartTimeout: DefaultStartTimeout, Logger: slog.New(slog.NewTextHandler(&log, nil)),
				}}
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				err := follow(ctx, w, o, func(context.Context) (registration, error) { return fakeRegistration{w}, nil })
				_, after, _ := strings.Cut(log.String(), "msg=draining")
				if err != nil || !strings.Contains(after, "msg=drained") {
					t.Errorf("it ends with %v and logs\n%s", err, &log)
				}
			})
		})
	}
}

func TestSupervising(t *testing.T) {
	t.Parallel()
	const term, interrupt = syscall.SIGTERM, syscall.SIGINT
	at := func(d time.Duration, s syscall.Signal) map[time.Duration]syscall.Signal {
		return map[time.Duration]syscall.Signal{d: s}
	}
	const ms = time.Millisecond
	slowStart := []span{{0, 250 * ms}}
	for name, tc := range map[string]struct {
		story
		journal string
		code    int
		err     string
	}{
		"it registers when the health check first passes": {
			story:   story{lives: []script{{sick: slowStart, lasts: 2050 * ms, code: 3}}},
			journal: "0s start, 300ms register, 2.05s program ends, 2.05s publish healthy: false, 2.051s sweep, 2.051s leave",
			code:    3,
		},
		"a program that ends before it was healthy was never registered": {
			story:   story{lives: []script{{sick: []span{{0, ever}}, lasts: 2050 * ms, code: 3}}},
			journal: "0s start, 2.05s program ends, 2.051s sweep", code: 3,
		},
		"one failure is none, two are, and one success mends it": {
			story:   story{lives: []script{{sick: []span{{900 * ms, 1100 * ms}, {2900 * ms, 5500 * ms}}, lasts: 6500 * ms}}},
			journal: "0s start, 0s register, 4s publish healthy: false, 6s publish healthy: true, 6.5s program ends, 6.5s publish healthy: false, 6.501s sweep, 6.501s leave",
		},
		"SIGTERM drains first": {
			story:   story{lives: []script{{takes: 100 * ms}}, signals: at(1500*ms, term)},
			journal: "0s start, 0s register, 1.5s drain, 6.5s drained, 6.5s terminated, 6.6s program ends, 6.6s publish healthy: false, 6.601s sweep, 6.601s leave",
		},
		"SIGINT does as SIGTERM": {
			story:   story{lives: []script{{}}, signals: at(1500*ms, interrupt)},
			journal: "0s start, 0s register, 1.5s drain, 6.5s drained, 6.5s terminated, 6.5s program ends, 6.5s publish healthy: false, 6.501s sweep, 6.501s leave",
		},
		"the end of the context does as SIGTERM": {
			story:   story{lives: []script{{}}, cancel: 1500 * ms},
			journal: "0s start, 0s register, 1.5s drain, 6.5s drained, 6.5s terminated, 6.5s program ends, 6.5s publish healthy: false, 6.501s sweep, 6.501s leave",
		},
		"a context that ends by the signal cuts nothing short": {
			story:   story{lives: []script{{}}, cancel: 1500 * ms, signals: at(1600*ms, term)},
			journal: "0s start, 0s register, 1.5s drain, 6.5s drained, 6.5s terminated, 6.5s program ends, 6.5s publish healthy: false, 6.501s sweep, 6.501s leave",
		},
		"a second SIGTERM cuts the drain short": {
			story:   story{lives: []script{{}}, signals: map[time.Duration]syscall.Signal{1500 * ms: term, 2500 * ms: term}},
			journal: "0s start, 0s register, 1.5s drain, 2.5s terminated, 2.5s program ends, 2.5s publish healthy: false, 2.501s sweep, 2.501s leave",
		},
		"a third one kills": {
			story:   story{lives: []script{{takes: ever}}, signals: map[time.Duration]syscall.Signal{1500 * ms: term, 2500 * ms: interrupt, 3500 * ms: term}},
			journal: "0s start, 0s register, 1.5s drain, 2.5s terminated, 3.5s kill, 3.5s program ends, 3.5s publish healthy: false, 3.501s sweep, 3.501s leave",
			code:    137,
		},
		"what does not stop is killed": {
			story:   story{lives: []script{{takes: ever}}, signals: at(1500*ms, term)},
			journal: "0s start, 0s register, 1.5s drain, 6.5s drained, 6.5s terminated, 16.5s kill, 16.5s program ends, 16.5s publish healthy: false, 16.501s sweep, 16.501s leave",
			code:    137,
		},
		"a program that is not registered does not drain": {
			story:   story{lives: []script{{sick: []span{{0, ever}}}}, signals: at(1550*ms, term)},
			journal: "0s start, 1.55s terminated, 1.55s program ends, 1.551s sweep",
		},
		"a program that ends while it drains is gone at once": {
			story:   story{lives: []script{{lasts: 2500 * ms, code: 4}}, restart: true, signals: at(1500*ms, term)},
			journal: "0s start, 0s register, 1.5s drain, 2.5s program ends, 2.5s publish healthy: false, 2.501s sweep, 2.501s leave",
			code:    4,
		},
		"other signals go to the program": {
			story:   story{lives: []script{{lasts: 2500 * ms}}, signals: map[time.Duration]syscall.Signal{1500 * ms: syscall.SIGHUP, 1600 * ms: syscall.SIGUSR2}},
			journal: "0s start, 0s register, 1.5s hangup, 1.6s user defined signal 2, 2.5s program ends, 2.5s publish healthy: false, 2.501s sweep, 2.501s leave",
		},
		"the health check must pass in time": {
			story:   story{lives: []script{{sick: []span{{0, ever}}}}, restart: true},
			journal: "0s start, 30s terminated, 30s program ends, 30.001s sweep",
			code:    1, err: "the health check has not passed within 30s of the program's start: it is sick",
		},
		"what cannot be registered is stopped": {
			story:   story{lives: []script{{sick: slowStart}}, restart: true, register: errors.New("no room")},
			journal: "0s start, 300ms register, 300ms terminated, 300ms program ends, 301ms sweep",
			code:    1, err: "no room",
		},
		"a registration that fails ends the program": {
			story:   story{lives: []script{{}}, restart: true, failed: 1500 * ms},
			journal: "0s start, 0s register, 1.5s terminated, 1.5s program ends, 1.5s publish healthy: false, 1.501s sweep, 1.501s leave",
			code:    1, err: "gossip is wedged",
		},
		"a program that fails is started again and published when it is healthy": {
			story:   story{lives: []script{{lasts: 2500 * ms, code: 4}, {sick: slowStart, lasts: 1500 * ms}}, restart: true},
			journal: "0s start, 0s register, 2.5s program ends, 2.5s publish healthy: false, 2.501s sweep, 3.501s start, 3.801s publish healthy: true, 5.001s program ends, 5.001s publish healthy: false, 5.002s sweep, 5.002s leave",
		},
		"a program that never gets healthy again is started again": {
			story: story{lives: []script{{lasts: 2500 * ms, code: 4}, {sick: []span{{0, ever}}}, {lasts: 1500 * ms}}, restart: true},
			journal: "0s start, 0s register, 2.5s program ends, 2.5s publish healthy: false, 2.501s sweep, 3.501s start, 33.501s terminated, 33.501s program ends, 33.501s publish healthy: false, 33.502s sweep, " +
				"35.502s start, 35.502s publish healthy: true, 37.002s program ends, 37.002s publish healthy: false, 37.003s sweep, 37.003s leave",
		},
		"a program is not started while another process answers": {
			story: story{lives: []script{{}}, taken: []span{{0, 1}}}, journal: "0s taken", code: 1, err: "another process answers",
		},
		"a program is not started again while another process answers": {
			story:   story{lives: []script{{lasts: 2500 * ms, code: 4}, {lasts: 1500 * ms}}, restart: true, taken: []span{{ms, 5 * time.Second}}},
			journal: "0s start, 0s register, 2.5s program ends, 2.5s publish healthy: false, 2.501s sweep, 3.501s taken, 4.501s taken, 5.501s start, 5.501s publish healthy: true, 7.001s program ends, 7.001s publish healthy: false, 7.002s sweep, 7.002s leave",
		},
		"SIGTERM ends the wait for the address": {
			story:   story{lives: []script{{lasts: 2500 * ms, code: 4}}, restart: true, taken: []span{{ms, ever}}, signals: at(4600*ms, term)},
			journal: "0s start, 0s register, 2.5s program ends, 2.5s publish healthy: false, 2.501s sweep, 3.501s taken, 4.501s taken, 4.6s leave",
			code:    4,
		},
		"SIGTERM ends the back-off": {
			story:   story{lives: []script{{lasts: 2500 * ms, code: 4}}, restart: true, signals: map[time.Duration]syscall.Signal{2700 * ms: syscall.SIGHUP, 2900 * ms: term}},
			journal: "0s start, 0s register, 2.5s program ends, 2.5s publish healthy: false, 2.501s sweep, 2.9s leave",
			code:    4,
		},
		"a registration that fails ends the back-off": {
			story:   story{lives: []script{{lasts: 2500 * ms, code: 4}}, restart: true, failed: 2700 * ms},
			journal: "0s start, 0s register, 2.5s program ends, 2.5s publish healthy: false, 2.501s sweep, 2.7s leave",
			code:    1, err: "gossip is wedged",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			journal, code, err := tell(t, tc.story)
			if got := strings.Join(journal, ", "); got != tc.journal {
				t.Errorf("it did\n%s\nwant\n%s", got, tc.journal)
			}
			if code != tc.code || fmt.Sprint(err) != cmp.Or(tc.err, "<nil>") {
				t.Errorf("run = %d, %v, want %d, %s", code, err, tc.code, tc.err)
			}
		})
	}
}

func TestTheBackOffGrowsUntilTheProgramRunsWell(t *testing.T) {
	t.Parallel()
	var b backoff
	for i, step := range []struct{ healthyFor, want time.Duration }{
		{0, 1}, {0, 2}, {59, 4}, {0, 8}, {0, 16}, {0, 30}, {0, 30}, {60, 1}, {0, 2}, {3600, 1}, {3600, 1},
	} {
		if got := b.after(step.healthyFor * time.Second); got != step.want*time.Second {
			t.Errorf("pause %d is %s, want %d s", i+1, got, step.want)
		}
	}
}

func TestEDSServersAreToldWhatTheOperatorSaysOfChecks(t *testing.T) {
	type checks struct{ interval, timeout time.Duration }
	for _, tt := range []struct {
		kind       fleet.ProbeKind
		said, told checks
	}{
		{fleet.ProbeHTTP, checks{}, checks{}},
		{fleet.ProbeHTTP, checks{DefaultHealthInterval, DefaultHealthTimeout}, checks{DefaultHealthInterval, DefaultHealthTimeout}},
		{fleet.ProbeTCP, checks{time.Millisecond, 2 * fleet.MaxCheck}, checks{fleet.MinInterval, fleet.MaxCheck}},
		{fleet.ProbeNone, checks{time.Second, time.Second}, checks{}},
	} {
		e := Endpoint{Health: Health{Probe: fleet.Probe{Kind: tt.kind}}, HealthInterval: tt.said.interval, HealthTimeout: tt.said.timeout}
		e.setProbeChecks()
		if got := (checks{e.Health.Probe.Interval, e.Health.Probe.Timeout}); got != tt.told {
			t.Errorf("%s: %+v is told as %+v, want %+v", tt.kind, tt.said, got, tt.told)
		}
	}
}
