// Package run puts programs that know nothing of rollcall into a fleet: it starts
// a program, or finds one that runs already, registers it once its health check
// passes, publishes what the check says, and drains it before it stops.
package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/upstream"
)

// The defaults of Options.
const (
	DefaultHealthInterval = time.Second
	DefaultHealthTimeout  = 500 * time.Millisecond
	DefaultStartTimeout   = 30 * time.Second
	DefaultStopTimeout    = 10 * time.Second
)

// answerTimeout is how long whoever has the address already may take to answer.
const answerTimeout = 2 * time.Second

// Endpoint is what is registered. Address, Service.Name and Health are required.
type Endpoint struct {
	Address netip.AddrPort
	Service upstream.Service
	Health  Health // from ParseHealth

	HealthInterval time.Duration // between two checks; 0: DefaultHealthInterval here, what EDS servers have there
	HealthTimeout  time.Duration // of one check; 0: DefaultHealthTimeout, likewise
	StartTimeout   time.Duration // for the first check that passes; default DefaultStartTimeout

	Pool   []upstream.Option // seeds, keys and the like; not the probe, which Health says
	Logger *slog.Logger      // nil discards
}

// Options configure Run. Program is required, besides what Endpoint requires.
type Options struct {
	Endpoint

	Program               []string // a name, looked for on the PATH, or a path; then the arguments
	Stdin, Stdout, Stderr *os.File // the program's own; nil is /dev/null

	StopTimeout      time.Duration // between SIGTERM and SIGKILL; default DefaultStopTimeout
	RestartOnFailure bool          // start the program again when it ends with another code than 0

	// Signals are passed on to the program, but for SIGTERM and SIGINT: the first
	// one stops as the end of the context does, the second one cuts the drain short,
	// the third one kills. It may be nil.
	Signals <-chan os.Signal

	id uuid.UUID // of the registration, at first
}

// Run runs the program until it ends for good, registered whenever it is healthy,
// and returns its exit code, 128 and the signal's number when a signal ended it.
// When ctx ends, it drains, sends SIGTERM, and SIGKILL after StopTimeout. It has
// left the pool when it returns, and nothing of the program's process group is
// left. An error says what went wrong besides; the exit code is 1 then, 127 when there
// is no such program, and 126 when it cannot be executed.
// The program's environment has ROLLCALL_ID, the id of its member, ROLLCALL_SERVICE and
// ROLLCALL_ADDRESS, and no other variable of rollcall's.
// It starts nothing when another process answers at the address already, and nothing
// again for as long as one does.
func Run(ctx context.Context, o Options) (exitCode int, err error) {
	if err := o.prepare(); err != nil {
		return exitFailed, err
	}
	s := &supervisor{
		opts:  &o,
		start: func() (process, error) { return startProgram(&o) },
		free:  o.unanswered,
		place: place{endpoint: &o.Endpoint, register: o.register},
	}
	return s.run(ctx)
}

// unanswered returns an error when somebody answers at the address already, whom the
// health check would take for the program.
func (o *Options) unanswered(ctx context.Context) error {
	d := net.Dialer{Timeout: answerTimeout}
	conn, err := d.DialContext(ctx, "tcp", o.Address.String())
	if err != nil {
		return nil
	}
	defer conn.Close()
	if conn.LocalAddr().String() == conn.RemoteAddr().String() { // it reached itself, by the port it was given
		return nil
	}
	return fmt.Errorf("another process answers at %s already: stop it, or give the program another port", o.Address)
}

// prepare fills in defaults and checks o.
func (o *Options) prepare() error {
	o.StopTimeout = cmp.Or(o.StopTimeout, DefaultStopTimeout)
	switch {
	case len(o.Program) == 0 || o.Program[0] == "":
		return errors.New("no program to run")
	case o.StopTimeout < 0:
		return errors.New("the stop timeout is negative: want more than 0")
	}
	// The program is asked here alone, at its operator's interval: it may serve one
	// connection at a time. EDS servers ask this process.
	o.Health.Probe = fleet.Probe{Kind: fleet.ProbeNone}
	o.id = uuid.New()
	o.Pool = append(slices.Clone(o.Pool), upstream.WithID(o.id))
	return o.Endpoint.prepare()
}

func (e *Endpoint) prepare() error {
	e.tellChecks()
	e.HealthInterval = cmp.Or(e.HealthInterval, DefaultHealthInterval)
	e.HealthTimeout = cmp.Or(e.HealthTimeout, DefaultHealthTimeout)
	e.StartTimeout = cmp.Or(e.StartTimeout, DefaultStartTimeout)
	if e.Logger == nil {
		e.Logger = slog.New(slog.DiscardHandler)
	}
	switch {
	case e.Health.Check == nil:
		return errors.New("no health check")
	case e.HealthInterval < 0 || e.HealthTimeout < 0:
		return errors.New("the interval or the timeout of the health check is negative: want more than 0")
	case e.StartTimeout < 0:
		return errors.New("the start timeout is negative: want more than 0")
	}
	if err := upstream.CheckEndpoint(e.Address, e.Service, e.options()...); err != nil {
		return fmt.Errorf("service %q at %s: %w", e.Service.Name, e.Address, err)
	}
	return nil
}

func (e *Endpoint) options() []upstream.Option {
	return append(slices.Clone(e.Pool), e.Health.probe(), upstream.WithChecks(e.Health.Probe.Interval, e.Health.Probe.Timeout), upstream.WithLogger(e.Logger))
}

// tellChecks has EDS servers that check the endpoint do so as its operator says, within
// what they can be told.
func (e *Endpoint) tellChecks() {
	p := &e.Health.Probe
	if p.Kind != fleet.ProbeNone && e.HealthInterval > 0 {
		p.Interval = min(max(e.HealthInterval, fleet.MinInterval), fleet.MaxCheck).Truncate(time.Millisecond)
	}
	if p.Kind != fleet.ProbeNone && e.HealthTimeout > 0 {
		p.Timeout = min(max(e.HealthTimeout, time.Millisecond), fleet.MaxCheck).Truncate(time.Millisecond)
	}
}

func (e *Endpoint) register(ctx context.Context) (registration, error) {
	reg, err := upstream.RegisterEndpoint(ctx, e.Address, e.Service, e.options()...)
	if err != nil {
		return nil, err // not a nil Registration in an interface
	}
	return reg, nil
}
