package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/envoy"
	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// pair is a fleet with two EDS servers, whose Envoys know both.
type pair struct {
	*harness
	at   [2]stage.Addresses
	api  [2]*stage.API
	eds  [2]*stage.Process
	args [2][]string
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{harness: newHarness(t)}
	p.at = [2]stage.Addresses{p.Addresses, must2(stage.Fresh())(t)}
	for i, other := range []int{1, 0} {
		p.api[i], p.args[i] = stage.NewAPI(p.at[i].HTTP), []string{"--join", p.at[other].Gossip}
		p.start(i)
	}
	for i := range p.eds {
		p.ready(i)
	}
	return p
}

func (p *pair) start(i int) {
	p.t.Helper()
	p.eds[i] = must2(p.StartEDSAt(p.at[i], p.args[i]...))(p.t)
}

func (p *pair) ready(i int) {
	p.t.Helper()
	if err := p.eds[i].Await(within(p.t, patience), p.api[i].Ready); err != nil {
		p.t.Fatal(err)
	}
}

// envoyOfBoth starts an Envoy that knows both servers and hides no failure.
func (p *pair) envoyOfBoth(api envoy.API) {
	p.t.Helper()
	second := p.at[1].XDS
	if api == envoy.REST {
		second = p.at[1].HTTP
	}
	p.envoy(api, "--eds", second, "--no-retries")
}

// patch decides about a host at the i-th server.
func (p *pair) patch(i int, host, body string) {
	p.t.Helper()
	_, err := p.api[i].Expect(within(p.t, patience), http.StatusOK, http.MethodPatch, "/edsservice/"+p.Service+"/hosts/"+host, body)
	if err != nil {
		p.t.Fatal(err)
	}
}

// overrides are the hosts that are decided about at the i-th server.
func (p *pair) overrides(ctx context.Context, i int) ([]string, error) {
	body, err := p.api[i].Expect(ctx, http.StatusOK, http.MethodGet, "/overrides", "")
	if err != nil {
		return nil, err
	}
	var answer struct {
		Overrides []struct {
			Host string `json:"host"`
		} `json:"overrides"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		return nil, fmt.Errorf("%w: %s", err, body)
	}
	var hosts []string
	for _, o := range answer.Overrides {
		hosts = append(hosts, o.Host)
	}
	slices.Sort(hosts)
	return hosts, nil
}

// decided waits until both servers have decisions about these hosts and no others.
func (p *pair) decided(hosts ...string) {
	p.t.Helper()
	slices.Sort(hosts)
	for i := range p.eds {
		p.eventually(fmt.Sprintf("decisions at server %d", i), func(ctx context.Context) error {
			got, err := p.overrides(ctx, i)
			if err == nil && !slices.Equal(got, hosts) {
				err = fmt.Errorf("they are about %v, want %v", got, hosts)
			}
			return err
		})
	}
}

// hasHosts waits until Envoy has these upstreams and no others.
func (p *pair) hasHosts(us ...*stage.Upstream) {
	p.t.Helper()
	want := portsOf(us)
	p.eventually("envoy's hosts", func(ctx context.Context) error {
		got, err := p.Admin.Hosts(ctx, stage.Backend)
		if err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("envoy has %v, want %v", got, want)
		}
		return err
	})
}

// connected is the server that has an Envoy as its client.
func (p *pair) connected() int {
	p.t.Helper()
	at := -1
	p.eventually("a server that envoy is connected to", func(ctx context.Context) error {
		for i, api := range p.api {
			body, err := api.Expect(ctx, http.StatusOK, http.MethodGet, "/clients", "")
			if err != nil {
				return err
			}
			if strings.Contains(body, p.Service) {
				at = i
				return nil
			}
		}
		return fmt.Errorf("there is none")
	})
	return at
}

// The server that an Envoy is connected to is killed: it follows what is decided at
// the other one, and has not lost what was decided at the first.
func TestAnEnvoyMovesToAnotherServer(t *testing.T) {
	for _, api := range []envoy.API{envoy.GRPC, envoy.DeltaADS, envoy.REST} {
		t.Run(string(api), func(t *testing.T) {
			t.Parallel()
			p := newPair(t)
			a, b, c := p.upstream(), p.upstream(), p.upstream()
			p.envoyOfBoth(api)
			p.hasHosts(a, b, c)
			at := p.connected()
			p.patch(at, a.ID, `{"state":"exclude","reason":"test"}`)
			p.hasHosts(b, c)
			p.decided(a.ID)
			load := p.load()
			p.eds[at].Kill()
			killed := time.Now()
			p.patch(1-at, b.ID, `{"state":"exclude"}`)
			p.hasHosts(c)
			t.Logf("it follows the other server %s after the kill", time.Since(killed).Round(time.Millisecond))
			time.Sleep(time.Second) // of load
			p.noneFailed(load)
		})
	}
}

// Servers are killed under load, one and then both: no request fails, what was
// decided is there when they are back, and Envoy follows again.
func TestKilledServersCostNoRequestAndNoDecision(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	a, b, c := p.upstream(), p.upstream(), p.upstream()
	p.envoyOfBoth(envoy.GRPC)
	p.hasHosts(a, b, c)
	load := p.load()
	p.patch(0, a.ID, `{"state":"exclude"}`)
	p.hasHosts(b, c)
	p.eds[0].Kill()
	p.patch(1, "10.9.9.9:80", `{"state":"drain"}`) // answered while the other one is away
	p.start(0)
	p.ready(0)
	p.decided(a.ID, "10.9.9.9:80")

	p.patch(0, "10.9.9.8:80", `{"state":"drain"}`)
	for i := range p.eds {
		p.eds[i].Kill()
	}
	time.Sleep(2 * time.Second)
	for i := range p.eds {
		p.start(i)
	}
	for i := range p.eds {
		p.ready(i)
	}
	p.decided(a.ID, "10.9.9.9:80", "10.9.9.8:80")
	p.patch(1, b.ID, `{"state":"exclude"}`)
	p.hasHosts(c)
	p.noneFailed(load)
	if changes := must2(p.Admin.Changes(within(t, patience), stage.Backend))(t); changes > 5 {
		t.Errorf("the hosts of envoy changed %d times: it saw a list that was not the truth", changes)
	}
}
