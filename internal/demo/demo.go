// Package demo plays rollcall's story on real processes of this machine: an EDS
// server, an Envoy and three upstreams that register themselves, are killed,
// overruled and drained, while a client asks through Envoy and tells what it sees.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// Options says what to play and where. The zero value of each field but Out has a
// default.
type Options struct {
	Once      bool            // play the whole story, check every step, end; else stay up until ctx ends
	Out       io.Writer       // the story is printed here
	Binary    string          // rollcall; this very program by default
	Envoy     string          // the Envoy binary; by default rollcall looks for it
	API       string          // Envoy's transport; grpc by default
	Addresses stage.Addresses // of the EDS server and of Envoy; the well-known ones by default
	Upstreams []int           // the ports of three upstreams; 8081 to 8083 by default
}

// Run plays the demo and stops everything it started before it returns. It
// returns nil when the story went as told, or, unless Once is set, when ctx ended
// it; else an error that names the step that failed.
func Run(ctx context.Context, o Options) error {
	if err := o.setDefaults(); err != nil {
		return err
	}
	if err := o.checkFree(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "rollcall-demo-")
	if err != nil {
		return fmt.Errorf("directory for the demo's data: %w", err)
	}
	defer os.RemoveAll(dir)
	d := &demo{out: o.Out, begun: time.Now(), ports: o.Upstreams, api: o.API, service: "myservice"}
	d.fleet = stage.NewFleet(stage.Options{
		Binary: o.Binary, Envoy: o.Envoy, Dir: dir, Addresses: o.Addresses, Service: d.service,
	})
	defer d.fleet.Kill() // whatever is still there
	err = d.run(ctx, o.Once)
	if !o.Once && ctx.Err() != nil {
		err = nil // the person who watches has stopped it, perhaps in the middle of a step
	}
	d.say("stopping: upstreams, Envoy, EDS server")
	if stopErr := d.fleet.Stop(); stopErr != nil {
		return errors.Join(err, fmt.Errorf("stop: %w", stopErr))
	}
	d.say("everything has stopped")
	return err
}

func (o *Options) setDefaults() error {
	if o.Binary == "" {
		self, err := os.Executable()
		if err != nil {
			return fmt.Errorf("find the rollcall binary: %w", err)
		}
		o.Binary = self
	}
	if o.API == "" {
		o.API = "grpc"
	}
	if o.Addresses == (stage.Addresses{}) {
		o.Addresses = stage.WellKnown()
	}
	if len(o.Upstreams) == 0 {
		o.Upstreams = []int{8081, 8082, 8083}
	}
	if len(o.Upstreams) != 3 {
		return fmt.Errorf("the demo has three upstreams, not %d", len(o.Upstreams))
	}
	return nil
}

// checkFree names every port that is taken, before anything has been started.
func (o *Options) checkFree() error {
	errs := []error{o.Addresses.CheckFree()}
	for _, port := range o.Upstreams {
		if err := stage.CheckFree(stage.Local(port)); err != nil {
			errs = append(errs, fmt.Errorf("an upstream's port: %w", err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("the demo needs its ports:\n%w", err)
	}
	return nil
}

// demo is one play. Everything in it belongs to the goroutine that runs it.
type demo struct {
	out     io.Writer
	begun   time.Time
	fleet   *stage.Fleet
	service string
	api     string
	ports   []int

	eds       *stage.Process
	upstreams []*stage.Upstream // those that still run, in the order they were started
}

func (d *demo) run(ctx context.Context, once bool) error {
	steps := opening
	if once {
		steps = append(steps[:len(steps):len(steps)], story...)
	}
	for _, s := range steps {
		if err := d.step(ctx, s); err != nil {
			return err
		}
	}
	if once {
		return nil
	}
	return d.stayUp(ctx)
}

// step is one thing the demo does and checks.
type step struct {
	name string
	run  func(*demo, context.Context) error
}

// stepTimeout bounds one step.
const stepTimeout = 30 * time.Second

func (d *demo) step(ctx context.Context, s step) error {
	bounded, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	err := s.run(d, bounded)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("interrupted at step %q", s.name)
	}
	for _, p := range d.fleet.Processes() {
		fmt.Fprintf(d.out, "--- the last lines of %s ---\n%s\n", p.Name, p.Tail(10))
	}
	return fmt.Errorf("step %q failed: %w", s.name, err)
}

// say tells one thing, with the time since the demo began.
func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.out, "%6.2f s  %s\n", time.Since(d.begun).Seconds(), fmt.Sprintf(format, args...))
}

// portOf is the port in a host:port that is known to be one.
func portOf(addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	return port
}
