package demo

import (
	"context"
	"fmt"
	"time"

	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// watchInterval is how often the demo looks for hosts that came or went.
const watchInterval = 200 * time.Millisecond

// stayUp shows what to try and tells of every host that comes or goes until ctx ends.
func (d *demo) stayUp(ctx context.Context) error {
	d.invite()
	seen, err := d.fleet.API.Service(ctx, d.service)
	if err != nil {
		return err
	}
	tick := time.NewTicker(watchInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			fmt.Fprintln(d.out)
			return nil
		case <-d.eds.Done():
			return fmt.Errorf("the EDS server ended:\n%s", d.eds.Tail(10))
		case <-tick.C:
		}
		now, err := d.fleet.API.Service(ctx, d.service)
		if err != nil {
			continue // it may be going down: then the next round says so
		}
		for _, line := range changes(seen, now) {
			d.say("%s", line)
		}
		seen = now
	}
}

// invite shows commands that do something here.
func (d *demo) invite() {
	a, service := d.fleet.Addresses, d.service
	last := d.upstreams[len(d.upstreams)-1]
	api := "http://localhost:" + portOf(a.HTTP)
	fmt.Fprintf(d.out, `
Everything runs. In another terminal, try:

  curl -v localhost:%[1]s/
  curl %[2]s/edsservice/%[3]s
  curl -X PUT -H 'Content-Type: application/json' -d '{"hosts":[]}' %[2]s/edsservice/%[3]s
  curl -X DELETE %[2]s/edsservice/%[3]s
  kill -9 %[4]d        # the upstream on port %[5]d
  %[6]s upstream -p %[7]d --join %[8]s

The API's console: %[2]s/
Logs: %[9]s
Ctrl-C stops everything.

`, portOf(a.Listener), api, service, last.PID(), last.Port, d.fleet.Binary, last.Port+1, a.Gossip, d.fleet.Dir)
}

// changes says in words what became of a service between two looks.
func changes(before, after stage.Service) []string {
	var lines []string
	if before.Mode != after.Mode {
		lines = append(lines, fmt.Sprintf("mode: %s → %s", orNone(before.Mode), orNone(after.Mode)))
	}
	old, now := byHost(before), byHost(after)
	for _, h := range before.Hosts {
		if _, ok := now[keyOf(h)]; !ok {
			lines = append(lines, "- "+describe(h)+" is gone")
		}
	}
	for _, h := range after.Hosts {
		was, ok := old[keyOf(h)]
		switch {
		case !ok:
			lines = append(lines, "+ "+describe(h)+" is there, "+h.State)
		case was.State != h.State:
			lines = append(lines, "~ "+describe(h)+" is "+h.State)
		}
	}
	return lines
}

func byHost(s stage.Service) map[string]stage.Host {
	hosts := make(map[string]stage.Host, len(s.Hosts))
	for _, h := range s.Hosts {
		hosts[keyOf(h)] = h
	}
	return hosts
}

// keyOf tells hosts apart: an address may have a manual and a self-registered one.
func keyOf(h stage.Host) string { return fmt.Sprint(h.IP, " ", h.Port, " ", h.Source, " ", h.ID) }

func describe(h stage.Host) string {
	name := h.ID
	if name == "" {
		name = h.Source
	}
	return fmt.Sprintf("%s:%d (%s)", h.IP, h.Port, name)
}

func orNone(mode string) string {
	if mode == "" {
		return "none"
	}
	return mode
}
