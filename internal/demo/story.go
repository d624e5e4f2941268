package demo

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// opening is what every demo begins with.
var opening = []step{
	{"start the EDS server", (*demo).startEDS},
	{"start Envoy, nothing registered", (*demo).startEnvoy},
	{"an upstream registers itself", (*demo).firstUpstream},
	{"two more upstreams", (*demo).moreUpstreams},
}

// story is what follows with --once.
var story = []step{
	{"kill -9 an upstream", (*demo).kill},
	{"an operator takes everything out: PUT []", (*demo).putNobody},
	{"an operator serves one host: PUT a list", (*demo).putOne},
	{"back to gossip: DELETE", (*demo).deleteOverride},
	{"SIGTERM an upstream", (*demo).drain},
}

const (
	loadRate  = 200                    // requests a second while an upstream goes
	aftermath = 200 * time.Millisecond // how long they go on after a kill
)

func (d *demo) startEDS(ctx context.Context) error {
	eds, err := d.fleet.EDS(ctx)
	if err != nil {
		return err
	}
	d.eds = eds
	a := d.fleet.Addresses
	d.say("the EDS server runs: HTTP %s, gRPC %s, gossip %s", a.HTTP, a.XDS, a.Gossip)
	return nil
}

func (d *demo) startEnvoy(ctx context.Context) error {
	if _, err := d.fleet.Envoy(ctx, d.api); err != nil {
		return err
	}
	d.say("Envoy runs: listener %s, admin %s; it asks for %q over %s",
		d.fleet.Addresses.Listener, d.fleet.Addresses.Admin, d.service, d.api)
	return d.expectNobody(ctx)
}

func (d *demo) firstUpstream(ctx context.Context) error {
	load := d.startLoad(ctx)
	defer load.Stop()
	u, err := d.fleet.Upstream(ctx, d.ports[0])
	if err != nil {
		return err
	}
	d.upstreams = append(d.upstreams, u)
	a, err := load.First(ctx, func(a stage.Answer) bool { return a.ID() == u.ID })
	if err != nil {
		return fmt.Errorf("its uuid %s never came through Envoy: %w", u.ID, err)
	}
	if server := a.Header.Get("Server"); server != "envoy" {
		return fmt.Errorf("header server is %q, not envoy", server)
	}
	d.say("an upstream started on port %d and registered itself", u.Port)
	d.say("  curl %s → 200 %s (server: envoy), %s after it was started", d.fleet.Addresses.Listener, a.ID(), ms(a.Got.Sub(u.Started)))
	return nil
}

func (d *demo) moreUpstreams(ctx context.Context) error {
	for _, port := range d.ports[1:] {
		u, err := d.fleet.Upstream(ctx, port)
		if err != nil {
			return err
		}
		d.upstreams = append(d.upstreams, u)
	}
	d.say("two more upstreams started: Envoy is to answer with three uuids")
	for _, u := range d.upstreams {
		d.say("  %s is on port %d, process %d", u.ID, u.Port, u.PID())
	}
	return d.expectAll(ctx)
}

// kill shows how long Envoy goes on giving requests to a process that is dead.
func (d *demo) kill(ctx context.Context) error {
	u := d.takeLast()
	load := d.startLoad(ctx)
	defer load.Stop()
	if _, err := load.First(ctx, func(a stage.Answer) bool { return a.ID() == u.ID }); err != nil {
		return fmt.Errorf("no request reached it: %w", err)
	}
	killed := time.Now()
	u.Kill()
	if err := d.awaitUnused(ctx, u.Port); err != nil {
		return err
	}
	took := time.Since(killed)
	if _, err := load.First(ctx, func(a stage.Answer) bool { return a.Sent.Sub(killed) > aftermath }); err != nil {
		return err
	}
	answers := load.Stop()
	if failed := answers.Failed(); len(failed) > 0 {
		return fmt.Errorf("%d of %d requests failed, the first: %w", len(failed), len(answers), failed[0].Failure())
	}
	d.say("kill -9 of the upstream on port %d: %s later Envoy had taken it out", u.Port, ms(took))
	d.say("  %d requests before, meanwhile and after, 0 failed: what had gone to it was sent to another one", len(answers))
	if err := d.awaitGone(ctx, u.Port); err != nil {
		return err
	}
	return d.expectAll(ctx)
}

func (d *demo) putNobody(ctx context.Context) error {
	if err := d.write(ctx, http.MethodPut, stage.HostList(), http.StatusOK); err != nil {
		return err
	}
	return d.expectNobody(ctx)
}

func (d *demo) putOne(ctx context.Context) error {
	one := d.upstreams[0]
	if err := d.write(ctx, http.MethodPut, stage.HostList(one.Port), http.StatusOK); err != nil {
		return err
	}
	return d.expect(ctx, one)
}

func (d *demo) deleteOverride(ctx context.Context) error {
	if err := d.write(ctx, http.MethodDelete, "", http.StatusNoContent); err != nil {
		return err
	}
	return d.expectAll(ctx)
}

func (d *demo) drain(ctx context.Context) error {
	u := d.takeLast()
	load := d.startLoad(ctx)
	defer load.Stop()
	asked := time.Now()
	if err := u.Stop(ctx); err != nil {
		return err
	}
	took := time.Since(asked)
	if err := d.awaitGone(ctx, u.Port); err != nil {
		return err
	}
	answers := load.Stop()
	if failed := answers.Failed(); len(failed) > 0 {
		return fmt.Errorf("%d of %d requests failed, the first: %w", len(failed), len(answers), failed[0].Failure())
	}
	d.say("SIGTERM to the upstream on port %d: it drained and exited 0 after %s", u.Port, ms(took))
	d.say("  meanwhile %d requests, 0 failed", len(answers))
	return d.expectAll(ctx)
}

// write sends an operator's decision.
func (d *demo) write(ctx context.Context, method, body string, want int) error {
	path := "/edsservice/" + d.service
	if _, err := d.fleet.API.Expect(ctx, want, method, path, body); err != nil {
		return err
	}
	d.say("%s", strings.TrimSpace(fmt.Sprintf("operator: %s %s %s", method, path, body)))
	return nil
}

// expectNobody waits for Envoy's answer when a cluster has no host.
func (d *demo) expectNobody(ctx context.Context) error {
	since := time.Now()
	err := stage.Eventually(ctx, func(ctx context.Context) error {
		a := d.fleet.Client.Get(ctx)
		if a.Status != http.StatusServiceUnavailable || a.Body != "no healthy upstream" {
			return fmt.Errorf("want 503 no healthy upstream, got status %d, body %q, error %v", a.Status, a.Body, a.Err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	d.say("  curl %s → 503 no healthy upstream, after %s", d.fleet.Addresses.Listener, ms(time.Since(since)))
	return nil
}

// expectAll waits until Envoy answers with every upstream that runs and no other.
func (d *demo) expectAll(ctx context.Context) error { return d.expect(ctx, d.upstreams...) }

func (d *demo) expect(ctx context.Context, us ...*stage.Upstream) error {
	want := make([]string, 0, len(us))
	for _, u := range us {
		want = append(want, u.ID)
	}
	since := time.Now()
	err := stage.Eventually(ctx, func(ctx context.Context) error { return d.fleet.Client.ExpectIDs(ctx, want...) })
	if err != nil {
		return err
	}
	d.say("  curl %s → 200 from %s, after %s", d.fleet.Addresses.Listener, ports(us), ms(time.Since(since)))
	return nil
}

// awaitUnused waits until Envoy may not use a host on port any more.
func (d *demo) awaitUnused(ctx context.Context, port int) error {
	return stage.Eventually(ctx, func(ctx context.Context) error {
		hosts, err := d.fleet.Admin.Healthy(ctx, stage.Backend)
		if err == nil && slices.Contains(hosts, stage.Local(port)) {
			err = fmt.Errorf("envoy still uses port %d", port)
		}
		return err
	})
}

// awaitGone waits until Envoy has no host on port any more.
func (d *demo) awaitGone(ctx context.Context, port int) error {
	return stage.Eventually(ctx, func(ctx context.Context) error {
		hosts, err := d.fleet.Admin.Hosts(ctx, stage.Backend)
		if err != nil {
			return err
		}
		if slices.Contains(hosts, port) {
			return fmt.Errorf("envoy still has port %d", port)
		}
		return nil
	})
}

func (d *demo) startLoad(ctx context.Context) *stage.Load {
	return stage.StartLoad(ctx, stage.NewClient(d.fleet.Addresses.Listener, true), loadRate)
}

// takeLast returns the upstream that was started last and counts it as gone.
func (d *demo) takeLast() *stage.Upstream {
	last := d.upstreams[len(d.upstreams)-1]
	d.upstreams = d.upstreams[:len(d.upstreams)-1]
	return last
}

// ports names the ports of upstreams, for a sentence.
func ports(us []*stage.Upstream) string {
	var names []string
	for _, u := range us {
		names = append(names, fmt.Sprint(u.Port))
	}
	if len(names) == 1 {
		return "port " + names[0]
	}
	return "ports " + strings.Join(names, ", ")
}

// ms prints a duration in milliseconds.
func ms(t time.Duration) string { return fmt.Sprintf("%d ms", t.Milliseconds()) }
