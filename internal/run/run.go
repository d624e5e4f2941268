// Package run registers programs that do not use rollcall themselves: it starts a program, or
// uses one that is running already, registers it once its health check passes, publishes
// its health, and drains it before it stops.
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

// answerTimeout bounds the check whether another process already uses the address.
const answerTimeout = 2 * time.Second

// Endpoint is the endpoint to register. Address, Service.Name and Health are required.
type Endpoint struct {
	Address netip.AddrPort
	Service upstream.Service
	Health  Health // from ParseHealth

	HealthInterval time.Duration // between two checks; 0: DefaultHealthInterval for this process, the EDS servers' own for them
	HealthTimeout  time.Duration // of one check; 0: DefaultHealthTimeout, or the EDS servers' own
	StartTimeout   time.Duration // for the first check that passes; default DefaultStartTimeout

	Pool   []upstream.Option // seeds, keys and so on; not the probe, which Health defines
	Logger *slog.Logger      // nil discards
}

// Options configure Run. Program is required, besides what Endpoint requires.
type Options struct {
	Endpoint

	Program               []string // a name, searched for in PATH, or a path; then the arguments
	Stdin, Stdout, Stderr *os.File // of the program; nil: /dev/null

	StopTimeout      time.Duration // between SIGTERM and SIGKILL; default DefaultStopTimeout
	RestartOnFailure bool          // start the program again when its exit code is not 0

	// Signals are forwarded to the program, except SIGTERM and SIGINT: the first of these
	// stops like the end of the context, the second one ends the drain early, the third one
	// kills the program. It may be nil.
	Signals <-chan os.Signal

	id uuid.UUID // of the registration; a renewed registration has another
}

// Run runs the program until it ends and is not restarted, keeps it registered with its
// health, and returns its exit code: 128 plus the signal's number when a signal ended it.
// When ctx ends, Run drains, sends SIGTERM, and SIGKILL after StopTimeout. When it returns,
// it has left the pool, and the program's process group is empty. With an error, the exit
// code is 127 when the program does not exist, 126 when it cannot be executed, and 1
// otherwise.
// The program's environment has ROLLCALL_ID, the id of its member, ROLLCALL_SERVICE and
// ROLLCALL_ADDRESS, and no other variable of rollcall.
// Run does not start or restart the program while another process accepts connections at
// the address.
func Run(ctx context.Context, o Options) (exitCode int, err error) {
	if err := o.prepare(); err != nil {
		return exitFailed, err
	}
	s := &supervisor{
		opts:       &o,
		start:      func() (process, error) { return startProgram(&o) },
		free:       o.checkAddressFree,
		membership: membership{endpoint: &o.Endpoint, register: o.register},
	}
	return s.run(ctx)
}

// checkAddressFree returns an error when another process accepts connections at the address:
// the health check would mistake it for the program.
func (o *Options) checkAddressFree(ctx context.Context) error {
	d := net.Dialer{Timeout: answerTimeout}
	conn, err := d.DialContext(ctx, "tcp", o.Address.String())
	if err != nil {
		return nil
	}
	defer conn.Close()
	if conn.LocalAddr().String() == conn.RemoteAddr().String() { // it connected to itself, since the kernel chose this port for it
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
	// Only this process checks the program, at its operator's interval: the program may serve
	// one connection at a time. EDS servers ask this process.
	o.Health.Probe = fleet.Probe{Kind: fleet.ProbeNone}
	o.id = uuid.New()
	o.Pool = append(slices.Clone(o.Pool), upstream.WithID(o.id))
	return o.Endpoint.prepare()
}

func (e *Endpoint) prepare() error {
	e.setProbeChecks()
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

// setProbeChecks announces the operator's interval and timeout to the EDS servers that check
// the endpoint, within the bounds of the metadata.
func (e *Endpoint) setProbeChecks() {
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
		return nil, err // nil here is a nil interface; reg would be a non-nil one
	}
	return reg, nil
}
