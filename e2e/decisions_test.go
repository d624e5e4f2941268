package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/envoy"
	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// told is what Envoy holds of a host: what it balances by.
type told struct {
	Region, Zone string
	Weight       int
	LB           map[string]any // the metadata envoy.lb
}

// told waits until Envoy holds this of u's host.
func (h *harness) told(u *stage.Upstream, want told) {
	h.t.Helper()
	h.eventually("what envoy holds of a host", func(ctx context.Context) error {
		got, err := h.holds(ctx, u.Port)
		if err == nil && !reflect.DeepEqual(got, want) {
			err = fmt.Errorf("envoy holds %+v, want %+v", got, want)
		}
		return err
	})
}

// holds reads what Envoy makes of its load assignments. Those of clusters that are
// in its bootstrap count as static, wherever they come from.
func (h *harness) holds(ctx context.Context, port int) (told, error) {
	var dump struct {
		Configs []struct {
			Clusters []struct {
				Assignment struct {
					Endpoints []struct {
						Locality  struct{ Region, Zone string }
						Endpoints []struct {
							Endpoint struct {
								Address struct {
									Socket struct {
										Port int `json:"port_value"`
									} `json:"socket_address"`
								}
							}
							Weight   int `json:"load_balancing_weight"`
							Metadata struct {
								Filter map[string]map[string]any `json:"filter_metadata"`
							}
						} `json:"lb_endpoints"`
					}
				} `json:"endpoint_config"`
			} `json:"static_endpoint_configs"`
		}
	}
	if err := stage.NewAPI(h.Addresses.Admin).Get(ctx, "/config_dump?include_eds", &dump); err != nil {
		return told{}, err
	}
	for _, c := range dump.Configs {
		for _, d := range c.Clusters {
			for _, l := range d.Assignment.Endpoints {
				for _, e := range l.Endpoints {
					if e.Endpoint.Address.Socket.Port == port {
						return told{l.Locality.Region, l.Locality.Zone, e.Weight, e.Metadata.Filter["envoy.lb"]}, nil
					}
				}
			}
		}
	}
	return told{}, fmt.Errorf("envoy has no host on port %d", port)
}

func TestTagsAndWeightOfADecisionReachEnvoy(t *testing.T) {
	overEach(t, func(h *harness, api envoy.API) {
		h.eds()
		h.envoy(api)
		u := h.upstream("--az", "us-1a", "--region", "us", "--weight", "3", "--tag", "rack=r1")
		itself := told{"us", "us-1a", 3, map[string]any{"canary": false, "rack": "r1"}}
		h.told(u, itself)
		h.decide(200, "PATCH", u.ID, `{"tags":{"az":"us-1b","canary":true,"rack":"r2","tier":"gold"},"load_balancing_weight":70}`)
		h.told(u, told{"us", "us-1b", 70, map[string]any{"canary": true, "rack": "r2", "tier": "gold"}})
		h.decide(200, "PATCH", u.ID, `{"tags":{"az":null,"tier":null,"region":"eu"},"load_balancing_weight":null}`)
		h.told(u, told{"eu", "us-1a", 3, map[string]any{"canary": true, "rack": "r2"}})
		if tag := h.decide(200, "PATCH", u.ID, `{"tags":null}`); tag != `"auto"` {
			t.Errorf("with nothing left of it the decision has the tag %s", tag)
		}
		h.told(u, itself)
	})
}

// inForce is a decision as GET /overrides shows it, and the audit.
type inForce struct {
	ID, Service, Host, Mode, State, Actor, Reason string
	Hosts                                         []struct{ Port int }
	Weight                                        int `json:"load_balancing_weight"`
	Tags                                          map[string]any
	Since, Until                                  time.Time
}

// prompt is how late something may be that is due at a moment: far more than it takes.
const prompt = 5 * time.Second

// A list that is given an end is over then, with nobody asking for it.
func TestAListEndsByItself(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.eds()
	h.envoy(envoy.GRPC)
	a, b := h.upstream(), h.upstream()
	other := h.stranger()
	h.serves(a, b)
	heard := h.listen("")
	for _, list := range []struct {
		method, mode string
		status       int
		hosts        string
		meanwhile    []*stage.Upstream
	}{
		{http.MethodPut, "pin", http.StatusOK, stage.HostList(b.Port), []*stage.Upstream{b}},
		{http.MethodPost, "merge", http.StatusCreated, stage.HostList(other.Port), []*stage.Upstream{a, b, other}},
	} {
		h.request(list.status, list.method, "/edsservice/"+h.Service+"?expires_in=6s&reason=a+"+list.mode, list.hosts)
		h.serves(list.meanwhile...)
		added := heard.until(t, "override", `"change":"added"`, `"reason":"a `+list.mode+`"`)
		var said struct{ Until time.Time }
		must(t, 0, json.Unmarshal([]byte(added.Data), &said))
		if left := time.Until(said.Until); left < 0 || left > 6*time.Second {
			t.Errorf("%s: it says that it lasts %s more", list.mode, left)
		}

		heard.until(t, "override", `"change":"expired"`, `"reason":"a `+list.mode+`"`)
		late("the end of a "+list.mode, said.Until, time.Now())(t)
		h.serves(a, b)
		late("envoy is back from a "+list.mode, said.Until, time.Now())(t)
		var audit struct {
			Audit []struct {
				Action   string
				At       time.Time
				Override inForce
			}
		}
		must(t, 0, h.API.Get(within(t, patience), "/audit?limit=1", &audit))
		e := audit.Audit[0]
		if e.Action != "expired" || e.Override.Mode != list.mode || !e.Override.Until.Equal(said.Until) {
			t.Errorf("the audit ends with %+v", e)
		}
		late("in the audit a "+list.mode, said.Until, e.At)(t)
		h.operate(http.StatusNotFound, http.MethodDelete, "") // there is nothing to take back
	}
}

// late fails the test if something that was due did not happen at about that moment.
func late(what string, due, happened time.Time) func(*testing.T) {
	return func(t *testing.T) {
		t.Helper()
		if by := happened.Sub(due); by < -time.Millisecond || by > prompt {
			t.Errorf("%s: %s after it was due", what, by)
		}
	}
}

// overrides are the decisions in force, by what they are about: a host, or "" for a list.
func (h *harness) overrides(query string) map[string]inForce {
	h.t.Helper()
	var answer struct{ Overrides []inForce }
	must(h.t, 0, h.API.Get(within(h.t, patience), "/overrides"+query, &answer))
	all := make(map[string]inForce)
	for _, o := range answer.Overrides {
		all[o.Host] = o
	}
	return all
}

func TestDecisionsInForceAreListedShownAndTakenBackByTheirID(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.eds()
	h.envoy(envoy.GRPC)
	a, b := h.upstream(), h.upstream()
	h.serves(a, b)
	began := time.Now()
	h.decide(200, "PATCH", a.ID, `{"state":"drain","load_balancing_weight":9,"tags":{"canary":true},"reason":"disk","expires_in":"1h"}`, "X-Rollcall-Actor", "ann")
	h.send(201, "POST", "/edsservice/"+h.Service+"?reason=more", stage.HostList(b.Port), "X-Rollcall-Actor", "bob")
	h.serves(b)

	all := h.overrides("")
	host, list := all[a.ID], all[""]
	for _, o := range []inForce{host, list} {
		if age := o.Since.Sub(began.Truncate(time.Millisecond)); age < 0 || age > time.Since(began) || o.ID == "" || o.Service != h.Service {
			t.Errorf("in force: %+v", o)
		}
		var one inForce
		must(t, 0, h.API.Get(within(t, patience), "/overrides/"+o.ID, &one))
		if !reflect.DeepEqual(one, o) {
			t.Errorf("in the list: %+v, alone: %+v", o, one)
		}
	}
	if host.State != "drain" || host.Weight != 9 || host.Tags["canary"] != true || host.Actor != "ann" || host.Reason != "disk" || host.Until.Sub(host.Since) != time.Hour {
		t.Errorf("for the host: %+v", host)
	}
	if list.Mode != "merge" || len(list.Hosts) != 1 || list.Hosts[0].Port != b.Port || list.Actor != "bob" || list.Reason != "more" || !list.Until.IsZero() {
		t.Errorf("for the list: %+v", list)
	}
	if len(all) != 2 || len(h.overrides("?service="+h.Service)) != 2 || len(h.overrides("?service=other")) != 0 {
		t.Errorf("in force are %+v", all)
	}

	wrong := strings.Repeat("0", len(host.ID))
	for _, method := range []string{"GET", "DELETE"} {
		h.request(http.StatusNotFound, method, "/overrides/"+wrong, "")
	}
	h.request(http.StatusNoContent, "DELETE", "/overrides/"+host.ID, "")
	h.serves(a, b)
	h.request(http.StatusNotFound, "DELETE", "/overrides/"+host.ID, "")
	h.request(http.StatusNoContent, "DELETE", "/overrides/"+list.ID+"?reason=enough", "")
	if left := h.overrides(""); len(left) > 0 {
		t.Errorf("in force is still %+v", left)
	}
	h.serves(a, b)
}

// unchanged returns what fails the test unless what is decided, served and in the
// audit is as it was when it was called.
func (h *harness) unchanged() func() {
	h.t.Helper()
	look := func() string {
		tag, service := h.send(200, "GET", "/edsservice/"+h.Service, "")
		return tag + service + h.request(200, "GET", "/overrides", "") + h.request(200, "GET", "/audit", "")
	}
	was := look()
	return func() {
		h.t.Helper()
		if is := look(); is != was {
			h.t.Errorf("what was refused has changed\n%s\nto\n%s", was, is)
		}
	}
}

func TestAListIsChangedOnlyByWhoHasSeenIt(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.eds()
	h.envoy(envoy.GRPC)
	a, b := h.upstream(), h.upstream()
	h.serves(a, b)
	path, onlyA, onlyB := "/edsservice/"+h.Service, stage.HostList(a.Port), stage.HostList(b.Port)
	lists := func(want int, method, body, match string) string {
		t.Helper()
		tag, _ := h.send(want, method, path, body, "If-Match", match)
		return tag
	}
	nothing, _ := h.send(200, "GET", path, "")
	pinned := lists(200, "PUT", onlyA, nothing)
	h.serves(a)
	same := h.unchanged()
	for _, match := range []string{nothing, "W/" + pinned, `"x"`, `"x", "y"`, `"` + strings.Trim(pinned, `"`) + `x"`} {
		lists(412, "PUT", onlyB, match)
		lists(412, "POST", onlyB, match)
		lists(412, "DELETE", "", match)
	}
	for _, malformed := range []string{strings.Trim(pinned, `"`), `"` + strings.Trim(pinned, `"`), pinned + pinned, ""} {
		lists(400, "PUT", onlyB, malformed)
		lists(400, "DELETE", "", malformed)
	}
	lists(409, "POST", onlyB, pinned) // it has seen the list, which is there
	h.send(412, "POST", "/edsservice/nobody-knows-it", onlyB, "If-Match", "*")
	h.serves(a)
	same()

	h.decide(200, "PATCH", a.ID, `{"load_balancing_weight":2}`) // it is of the service, too
	lists(412, "DELETE", "", pinned)
	again, _ := h.send(200, "GET", path, "")
	if lists(200, "PUT", onlyB, `"x", `+again) == again {
		t.Error("a changed list has the tag that it had")
	}
	h.serves(b)
	lists(200, "PUT", onlyA, "*")
	h.serves(a)
	lists(204, "DELETE", "", "*")
	h.serves(a, b)
	lists(404, "DELETE", "", "*")
}

// Of many operators who have seen the same and pin at the same moment, one does.
func TestOneOfManyOperatorsIsFirst(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.eds()
	h.envoy(envoy.GRPC)
	us := []*stage.Upstream{h.upstream(), h.upstream(), h.upstream()}
	h.serves(us...)
	seen, _ := h.send(200, "GET", "/edsservice/"+h.Service, "")
	won := make([]int, len(us))
	var mu sync.Mutex
	var operators sync.WaitGroup
	for i := range 4 * len(us) {
		req := must2(http.NewRequestWithContext(within(t, patience), "PUT", "http://"+h.Addresses.HTTP+"/edsservice/"+h.Service, strings.NewReader(stage.HostList(us[i%len(us)].Port))))(t)
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("If-Match", seen)
		operators.Go(func() {
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			defer resp.Body.Close()
			mu.Lock()
			defer mu.Unlock()
			switch resp.StatusCode {
			case http.StatusOK:
				won[i%len(us)]++
			case http.StatusPreconditionFailed:
			default:
				t.Errorf("status %d", resp.StatusCode)
			}
		})
	}
	operators.Wait()
	first := -1
	for i, n := range won {
		if n > 1 || n == 1 && first >= 0 {
			t.Fatalf("so many were first: %v", won)
		}
		if n == 1 {
			first = i
		}
	}
	if first < 0 {
		t.Fatal("nobody was first")
	}
	h.serves(us[first])
}
