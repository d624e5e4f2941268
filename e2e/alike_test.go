package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/rollcall-fleet/rollcall/envoy"
	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// alike are the answers in which the servers of a pool say the same, but for fields
// that are each server's own by their nature.
var alike = []struct {
	path string
	own  []string // * is each element
}{
	{"/edsservice", []string{
		"*.hosts.*.since", // of a state, by the clock of who saw it
		"*.hosts.*.acked", // by the clients of that server
	}},
	{"/edsservice/myservice", []string{"hosts.*.since", "hosts.*.acked"}},
	{"/edsservice/myservice/hosts/{host}", []string{"endpoint.since", "endpoint.acked"}},
	{"/overrides", nil},
	{"/overrides?service=myservice", nil},
	{"/guards", nil},
	{"/members", []string{"members.*.since"}}, // of a liveness, by the clock of who saw it; see present
	{"/audit", []string{
		"audit.*.id", // a place in the file of that server
		"audit.*.at", // when that server wrote it down
	}},
}

// present are the members that have not left: of those that had before it came a
// server has never heard.
func present(members []any) []any {
	return slices.DeleteFunc(members, func(m any) bool { return m.(map[string]any)["liveness"] == "left" })
}

// without deletes what a path names.
func without(v any, path string) {
	name, rest, more := strings.Cut(path, ".")
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			without(e, rest)
		}
	case map[string]any:
		for key, e := range v {
			switch {
			case name != "*" && name != key:
			case more:
				without(e, rest)
			default:
				delete(v, key)
			}
		}
	}
}

// says is what the i-th server answers without what is its own, and its ETag.
func (p *pair) says(ctx context.Context, i int, path string, own []string) (any, string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.at[i].HTTP+path, http.NoBody)
	if err != nil {
		return nil, "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return nil, "", fmt.Errorf("GET %s: status %d, %w", path, resp.StatusCode, err)
	}
	var v map[string]any
	if err := json.Unmarshal(body, &v); err != nil {
		return nil, "", err
	}
	if members, ok := v["members"].([]any); ok {
		v["members"] = present(members)
	}
	for _, o := range own {
		without(v, o)
	}
	return v, resp.Header.Get("ETag"), nil
}

// sayTheSame waits until both servers answer alike whatever they are asked.
func (p *pair) sayTheSame(host string) {
	p.t.Helper()
	for _, a := range alike {
		path := strings.NewReplacer("{host}", host).Replace(a.path)
		p.eventually(path+" is answered alike", func(ctx context.Context) error {
			one, tag, err := p.says(ctx, 0, path, a.own)
			if err != nil {
				return err
			}
			other, otherTag, err := p.says(ctx, 1, path, a.own)
			if err == nil && (!reflect.DeepEqual(one, other) || tag != otherTag) {
				err = fmt.Errorf("one says %s %v\nthe other %s %v", tag, one, otherTag, other)
			}
			return err
		})
	}
}

// version is that of a service's assignment at the i-th server, which an Envoy that
// polls is told.
func (p *pair) version(i int, service string) string {
	p.t.Helper()
	body := must2(p.api[i].Expect(within(p.t, patience), http.StatusOK, http.MethodPost, "/v3/discovery:endpoints", fmt.Sprintf(
		`{"node":{"id":"poller","cluster":"c"},"type_url":"type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment","resource_names":[%q]}`, service)))(p.t)
	var answer struct {
		Version   string           `json:"version_info"`
		Resources []map[string]any `json:"resources"`
	}
	must(p.t, 0, json.Unmarshal([]byte(body), &answer))
	if answer.Version == "" || len(answer.Resources) != 1 {
		p.t.Fatalf("server %d is asked for %s and says %s", i, service, body)
	}
	return answer.Version
}

// acknowledged waits until Envoy, wherever it is connected, has acknowledged a
// version of the fleet's service.
func (p *pair) acknowledged(version string) {
	p.t.Helper()
	p.eventually("envoy has version "+version, func(ctx context.Context) error {
		var seen strings.Builder
		for _, api := range p.api {
			clients, err := api.Expect(ctx, http.StatusOK, http.MethodGet, "/clients", "")
			if err != nil {
				return err
			}
			seen.WriteString(clients)
		}
		var envoys []string // of them, what is said of each Envoy
		for _, said := range strings.Split(seen.String(), `{"node":`)[1:] {
			if !strings.HasPrefix(said, `"poller"`) {
				envoys = append(envoys, said)
			}
		}
		if len(envoys) != 1 || !strings.Contains(envoys[0], `"acked_version":"`+version+`"`) {
			return fmt.Errorf("the clients are %s", seen.String())
		}
		return nil
	})
}

// Whichever server of a pool is asked, it says the same, and so do the versions of
// what Envoys are told: one that moves to the other server is sent nothing new.
func TestTheServersOfAPoolSayTheSame(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	a := p.upstream("--az", "us-1a", "--tag", "rack=r1")
	b, c := p.upstream("--weight", "3"), p.stranger()
	p.envoyOfBoth(envoy.GRPC)
	p.hasHosts(a, b)

	at := func(i, want int, method, path, body string) {
		t.Helper()
		_, err := p.api[i].Expect(within(t, patience), want, method, path, body)
		must(t, 0, err)
	}
	p.patch(0, a.ID, `{"load_balancing_weight":7,"tags":{"rack":"r2","canary":true},"reason":"try","expires_in":"1h"}`)
	p.decided(a.ID)
	p.patch(1, a.ID, `{"reason":"try again"}`)
	p.patch(1, "10.9.9.9:80", `{"state":"drain"}`)
	p.decided(a.ID, "10.9.9.9:80")
	at(1, http.StatusCreated, "POST", "/edsservice/other?reason=more&expires_in=3s", stage.HostList(c.Port, 9))
	p.decided(a.ID, "10.9.9.9:80", "")
	p.decided(a.ID, "10.9.9.9:80") // the list is over
	at(0, http.StatusOK, "PUT", "/edsservice/"+p.Service, stage.HostList(a.Port, b.Port))
	p.decided(a.ID, "10.9.9.9:80", "")
	p.sayTheSame(a.ID)
	at(0, http.StatusNoContent, "DELETE", "/edsservice/"+p.Service+"/hosts/10.9.9.9:80", "")
	p.decided(a.ID, "")
	p.sayTheSame(a.ID)
	for _, service := range []string{p.Service, "other"} {
		if one, other := p.version(0, service), p.version(1, service); one != other {
			t.Errorf("%s has version %s and %s", service, one, other)
		}
	}
	version := p.version(0, p.Service)
	p.acknowledged(version)

	for i := range p.eds { // what a server has from its disk and from the other is the same, too
		must(t, 0, p.eds[i].Stop(within(t, patience)))
		p.start(i)
		p.ready(i)
		p.hasHosts(a, b)
		p.sayTheSame(a.ID)
		if now := p.version(i, p.Service); now != version {
			t.Errorf("before it was started again its version was %s, now %s", version, now)
		}
		p.acknowledged(version)
	}
}
