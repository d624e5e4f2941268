package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/rollcall-fleet/rollcall/e2e/netns"
	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// readmeHosts are the machines that README.md speaks of, each with the ports that it
// names to itself: what is refused at addresses that others can reach would be refused
// here.
type readmeHosts struct {
	t       *testing.T
	network *netns.Net
	home    string
	index   map[string]int // of a host by README.md's address
	renames *strings.Replacer
}

func newReadmeHosts(t *testing.T, addrs ...string) *readmeHosts {
	t.Helper()
	network := must2(netns.New(within(t, patience), len(addrs)))(t)
	t.Cleanup(func() {
		if err := network.Close(); err != nil {
			t.Error(err)
		}
	})
	m := &readmeHosts{t: t, network: network, home: t.TempDir(), index: make(map[string]int)}
	var renames []string
	for i, addr := range addrs {
		m.index[addr] = i
		renames = append(renames, addr, network.Addr(i))
	}
	m.renames = strings.NewReplacer(renames...)
	return m
}

// addr is the address that a host of README.md has.
func (m *readmeHosts) addr(host string) string { return m.network.Addr(m.index[host]) }

// line is README.md's one command that begins with prefix, at the addresses here.
func (m *readmeHosts) line(prefix string) string {
	m.t.Helper()
	return m.renames.Replace(readmeStarting(m.t, prefix)[0])
}

// on runs a command line on a host.
func (m *readmeHosts) on(host, line string) *stage.Process {
	m.t.Helper()
	program, args := m.network.Command(m.index[host], "", "")
	return terminal(m.t, m.home, strings.TrimSpace(program+" "+strings.Join(args, " "))+" "+m.renames.Replace(line))
}

// api is that of an EDS server on a host.
func (m *readmeHosts) api(host string) *stage.API {
	return stage.NewAPIVia(stage.WellKnown().HTTP, m.network.Dialer(m.index[host]))
}

// serves waits, while p runs, until the one host of a service is at the address.
func (m *readmeHosts) serves(p *stage.Process, api *stage.API, service, addr string) {
	m.t.Helper()
	err := p.Await(within(m.t, patience), func(ctx context.Context) error {
		s, err := api.Service(ctx, service)
		if err == nil && (len(s.Hosts) != 1 || s.Hosts[0].IP != addr || !s.Hosts[0].Served) {
			err = fmt.Errorf("want one host that is served, %s, got %+v", addr, s.Hosts)
		}
		return err
	})
	if err != nil {
		m.t.Fatal(err)
	}
}

func TestReadmeMoreThanOneMachine(t *testing.T) {
	t.Parallel()
	m := newReadmeHosts(t, "10.0.0.5", "10.0.0.7", "10.0.0.8")
	for _, prefix := range []string{"(umask 077; rollcall keygen gossip", "rollcall certs init"} {
		if err := terminal(t, m.home, "sh -c '"+m.line(prefix)+"'").Wait(within(t, patience)); err != nil {
			t.Fatal(err)
		}
	}
	api := m.api("10.0.0.5")
	if err := m.on("10.0.0.5", m.line("rollcall eds --gossip")).Await(within(t, patience), api.Ready); err != nil {
		t.Fatal(err)
	}
	m.serves(m.on("10.0.0.7", m.line("rollcall upstream -p 8081 --address")), api, "myservice", m.addr("10.0.0.7"))
	admin := stage.NewAdminVia(stage.WellKnown().Admin, m.network.Dialer(m.index["10.0.0.8"]))
	err := m.on("10.0.0.8", m.line("rollcall envoy run --eds")).Await(within(t, patience), func(ctx context.Context) error {
		served, err := admin.Healthy(ctx, stage.Backend)
		if err == nil && len(served) != 1 {
			err = fmt.Errorf("envoy has %v", served)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestReadmeRegister registers on one host what runs on another.
func TestReadmeRegister(t *testing.T) {
	t.Parallel()
	m := newReadmeHosts(t, "10.0.0.5", "10.0.0.9")
	db := m.on("10.0.0.9", "python3 -m http.server 5432 --bind 10.0.0.9")
	api := m.api("10.0.0.5")
	if err := m.on("10.0.0.5", m.line("rollcall eds --allow-address")).Await(within(t, patience), api.Ready); err != nil {
		t.Fatal(err)
	}
	p := m.on("10.0.0.5", m.line("rollcall register"))
	m.serves(p, api, "db", m.addr("10.0.0.9"))
	db.Kill()
	err := p.Await(within(t, patience), func(ctx context.Context) error {
		s, err := api.Service(ctx, "db")
		if err == nil && len(s.Hosts) > 0 && s.Hosts[0].Served {
			err = fmt.Errorf("it is still served: %+v", s.Hosts)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if err := p.Stop(within(t, patience)); err != nil {
		t.Error(err)
	}
}
