package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/envoy"
	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// send sends a request with these headers, as operators' tools do, and returns the
// answer's ETag and body. The test fails unless its status is want.
func (h *harness) send(want int, method, path, body string, headers ...string) (etag, answer string) {
	h.t.Helper()
	req := must2(http.NewRequestWithContext(within(h.t, patience), method, "http://"+h.Addresses.HTTP+path, strings.NewReader(body)))(h.t)
	req.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp := must2(http.DefaultClient.Do(req))(h.t)
	defer resp.Body.Close()
	got := must2(io.ReadAll(resp.Body))(h.t)
	if resp.StatusCode != want {
		h.t.Fatalf("%s %s %s: status %d, want %d: %s", method, path, body, resp.StatusCode, want, got)
	}
	return resp.Header.Get("ETag"), string(got)
}

// decide changes the decision for a host of the fleet's service, and returns the
// answer's ETag.
func (h *harness) decide(want int, method, host, body string, headers ...string) string {
	h.t.Helper()
	headers = append([]string{"Content-Type", "application/merge-patch+json"}, headers...)
	etag, _ := h.send(want, method, "/edsservice/"+h.Service+"/hosts/"+host, body, headers...)
	return etag
}

func local(port int) string { return "127.0.0.1:" + strconv.Itoa(port) }

// weights waits until Envoy has the host on u's port with this weight.
func (h *harness) weights(u *stage.Upstream, weight int) {
	h.t.Helper()
	h.eventually("the weight in envoy", func(ctx context.Context) error {
		var dump struct {
			Clusters []struct {
				Name  string `json:"name"`
				Hosts []struct {
					Weight  int `json:"weight"`
					Address struct {
						Socket struct {
							Port int `json:"port_value"`
						} `json:"socket_address"`
					} `json:"address"`
				} `json:"host_statuses"`
			} `json:"cluster_statuses"`
		}
		if err := stage.NewAPI(h.Addresses.Admin).Get(ctx, "/clusters?format=json", &dump); err != nil {
			return err
		}
		for _, c := range dump.Clusters {
			for _, host := range c.Hosts {
				if c.Name == stage.Backend && host.Address.Socket.Port == u.Port && host.Weight == weight {
					return nil
				}
			}
		}
		return fmt.Errorf("no host on port %d with weight %d", u.Port, weight)
	})
}

func TestOperatorsDecideForOneHost(t *testing.T) {
	overEach(t, func(h *harness, api envoy.API) {
		h.eds()
		h.envoy(api, "--no-retries")
		a, b := h.upstream(), h.upstream()
		h.serves(a, b)

		load := h.load()
		h.decide(200, "PATCH", a.ID, `{"state":"drain","reason":"disk errors"}`)
		h.serves(b)
		h.letsGoOf(a)
		h.decide(200, "PATCH", a.ID, `{"state":"exclude"}`)
		h.decide(200, "PATCH", a.ID, `{"load_balancing_weight":7}`)
		h.serves(b)
		h.decide(200, "PATCH", a.ID, `{"state":null}`)
		h.serves(a, b)
		h.weights(a, 7)
		h.decide(204, "DELETE", local(a.Port), "") // by its other name
		h.weights(a, 1)

		h.decide(200, "PATCH", local(b.Port), `{"state":"exclude"}`)
		h.serves(a)
		h.decide(204, "DELETE", local(b.Port), "")
		h.serves(a, b)
		h.noneFailed(load)
	})
}

func TestAForcedHostIsServedWhateverIsKnownOfIt(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.eds()
	h.envoy(envoy.GRPC)
	a, b := h.upstream(), h.upstream()
	h.serves(a, b)
	h.operate(http.StatusOK, http.MethodPut, `{"hosts":[]}`)
	h.servesNobody()
	h.decide(200, "PATCH", a.ID, `{"state":"force"}`) // over the pin
	h.serves(a)
	h.operate(http.StatusNoContent, http.MethodDelete, "")
	h.serves(a, b)

	a.Kill() // over the proof that it is dead
	h.serves(b)
	has := func(want bool) {
		h.eventually("the dead host in envoy", func(ctx context.Context) error {
			healthy, err := h.Admin.Healthy(ctx, stage.Backend)
			if got := strings.Contains(strings.Join(healthy, " "), local(a.Port)); err == nil && got != want {
				err = fmt.Errorf("envoy uses %q, want %s among them: %v", healthy, local(a.Port), want)
			}
			return err
		})
	}
	has(true)
	h.decide(204, "DELETE", a.ID, "")
	has(false)
}

// A request in flight on a host that is drained, or even excluded, finishes.
func TestRequestsInFlightFinishOnADrainedHost(t *testing.T) {
	t.Parallel()
	for _, state := range []string{"drain", "exclude"} {
		h := newHarness(t)
		h.eds()
		h.envoy(envoy.GRPC)
		arrived, finish := make(chan struct{}), make(chan struct{})
		slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			arrived <- struct{}{}
			<-finish
			_, _ = io.WriteString(w, "done")
		}))
		t.Cleanup(slow.Close)
		addr := netip.MustParseAddrPort(slow.Listener.Addr().String())
		h.operate(http.StatusCreated, http.MethodPost, stage.HostList(int(addr.Port())))
		h.eventually("envoy has the host", func(ctx context.Context) error {
			healthy, err := h.Admin.Healthy(ctx, stage.Backend)
			if err == nil && len(healthy) != 1 {
				err = fmt.Errorf("envoy uses %q", healthy)
			}
			return err
		})
		answers := make(chan stage.Answer, 1)
		go func() { answers <- h.Client.Get(t.Context()) }()
		<-arrived
		h.decide(200, "PATCH", addr.String(), fmt.Sprintf(`{"state":%q}`, state))
		h.letsGoOf(&stage.Upstream{Port: int(addr.Port())})
		close(finish)
		if a := <-answers; a.Status != http.StatusOK || a.Body != "done" {
			t.Errorf("%s: the request in flight got %d %q, %v", state, a.Status, a.Body, a.Err)
		}
	}
}

func TestADecisionEndsByItself(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.eds()
	h.envoy(envoy.GRPC)
	a, b := h.upstream(), h.upstream()
	h.serves(a, b)
	h.decide(200, "PATCH", a.ID, `{"state":"exclude","expires_in":"8s"}`)
	began := time.Now()
	h.serves(b)
	h.serves(a, b)
	if took := time.Since(began); took < 5*time.Second {
		t.Errorf("it ended after %s", took)
	}
	h.decide(404, "DELETE", a.ID, "")
	if body := h.request(200, "GET", "/audit?since=1m", ""); !strings.Contains(body, `"action":"expired"`) {
		t.Errorf("the audit has %s", body)
	}
}

func TestADecisionWaitsForItsAddress(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.eds()
	h.envoy(envoy.GRPC)
	b := h.upstream()
	h.serves(b)
	port := must2(stage.FreePort())(t)
	h.decide(200, "PATCH", local(port), `{"state":"drain","reason":"not yet"}`)
	c := must2(h.Upstream(within(t, patience), port))(t)
	h.lists(b, c)
	h.serves(b)
	h.decide(204, "DELETE", local(port), "")
	h.serves(b, c)
}

func TestTheSecondOfTwoOperatorsIsToldOfTheFirst(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.eds()
	h.envoy(envoy.GRPC)
	a, b := h.upstream(), h.upstream()
	h.serves(a, b)
	read := h.decide(200, "GET", a.ID, "")
	h.decide(200, "PATCH", a.ID, `{"state":"drain"}`, "If-Match", read, "X-Rollcall-Actor", "ann")
	h.decide(412, "PATCH", a.ID, `{"state":"force"}`, "If-Match", read, "X-Rollcall-Actor", "bob")
	h.serves(b)
	if body := h.request(200, "GET", "/overrides?service="+h.Service, ""); !strings.Contains(body, `"actor":"ann"`) {
		t.Errorf("in force: %s", body)
	}
	h.decide(204, "DELETE", a.ID, "", "If-Match", "*")
	h.serves(a, b)
}

// Each command of the operators' page does what it says, in order.
func TestOperationsPage(t *testing.T) {
	wellKnown(t)
	home := t.TempDir()
	terminal(t, home, "rollcall upstream -p 8081")
	terminal(t, home, "rollcall upstream -p 8082")
	eds := terminal(t, home, "rollcall eds")
	err := eds.Await(within(t, patience), func(ctx context.Context) error {
		s, err := stage.NewAPI(stage.WellKnown().HTTP).Service(ctx, "myservice")
		if err == nil && len(s.Hosts) != 2 {
			err = fmt.Errorf("want two hosts, got %+v", s.Hosts)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, line := range commandsOf(t, "docs/operations.md") {
		ran++
		want := http.StatusOK
		switch {
		case strings.HasPrefix(line, "rollcall "):
			if code, out := rollcall(t, shellWords(line)[1:]...); code != 0 {
				t.Errorf("%s\nexit code %d: %s", line, code, out)
			}
			continue
		case strings.HasPrefix(line, "curl -X DELETE"):
			want = http.StatusNoContent
		case strings.HasPrefix(line, "curl -N"): // it does not end
			continue
		}
		if status, body := curl(t, line); status != want {
			t.Errorf("%s\nstatus %d, want %d: %s", line, status, want, body)
		}
	}
	if ran < 17 {
		t.Errorf("the page has %d commands", ran)
	}
}
