package stage

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
)

// Backend is the cluster that the bootstrap of `rollcall envoy` routes `/` to.
const Backend = "service_backend"

// Admin reads Envoy's admin port.
type Admin struct{ api *API }

// NewAdmin returns a reader of the Envoy whose admin address is addr.
func NewAdmin(addr string) *Admin { return NewAdminVia(addr, nil) }

// NewAdminVia is NewAdmin over connections that dial makes.
func NewAdminVia(addr string, dial Dial) *Admin { return &Admin{api: NewAPIVia(addr, dial)} }

// Ready returns nil once Envoy serves: its clusters have been warmed.
func (a *Admin) Ready(ctx context.Context) error {
	_, err := a.api.Expect(ctx, http.StatusOK, http.MethodGet, "/ready", "")
	return err
}

// clusters is the part of Envoy's answer to /clusters that is used here.
type clusters struct {
	Clusters []struct {
		Name  string       `json:"name"`
		Hosts []hostStatus `json:"host_statuses"`
	} `json:"cluster_statuses"`
}

type hostStatus struct {
	Address struct {
		Socket struct {
			IP   string `json:"address"`
			Port int    `json:"port_value"`
		} `json:"socket_address"`
	} `json:"address"`
	Health struct {
		EDS string `json:"eds_health_status"`
	} `json:"health_status"`
}

// Hosts returns the ports of the hosts that Envoy has in a cluster, sorted.
func (a *Admin) Hosts(ctx context.Context, cluster string) ([]int, error) {
	hosts, err := a.hosts(ctx, cluster)
	ports := []int{}
	for _, h := range hosts {
		ports = append(ports, h.Address.Socket.Port)
	}
	slices.Sort(ports)
	return ports, err
}

// Healthy returns the addresses of the hosts in a cluster that Envoy may use,
// sorted.
func (a *Admin) Healthy(ctx context.Context, cluster string) ([]string, error) {
	hosts, err := a.hosts(ctx, cluster)
	addrs := []string{}
	for _, h := range hosts {
		if h.Health.EDS == "HEALTHY" {
			addrs = append(addrs, fmt.Sprintf("%s:%d", h.Address.Socket.IP, h.Address.Socket.Port))
		}
	}
	slices.Sort(addrs)
	return addrs, err
}

// Usable returns how many hosts of a cluster Envoy may use, for less than Healthy.
func (a *Admin) Usable(ctx context.Context, cluster string) (int, error) {
	return a.counter(ctx, "cluster."+cluster+".membership_healthy")
}

// Changes returns how many times hosts came to a cluster or went since Envoy
// started, those that came and went at once counted once. Unlike a look at the
// hosts it misses nothing.
func (a *Admin) Changes(ctx context.Context, cluster string) (int, error) {
	return a.counter(ctx, "cluster."+cluster+".membership_change")
}

// Updates returns how many updates of a cluster's hosts Envoy has taken.
func (a *Admin) Updates(ctx context.Context, cluster string) (int, error) {
	return a.counter(ctx, "cluster."+cluster+".update_success")
}

// Waiting returns how many requests to a cluster Envoy waits to have answered.
func (a *Admin) Waiting(ctx context.Context, cluster string) (int, error) {
	return a.counter(ctx, "cluster."+cluster+".upstream_rq_active")
}

// UnansweredPings returns how many connections to a cluster Envoy has closed since a ping
// was not answered in time.
func (a *Admin) UnansweredPings(ctx context.Context, cluster string) (int, error) {
	return a.counter(ctx, "cluster."+cluster+".http2.keepalive_timeout")
}

// counter returns one of Envoy's statistics.
func (a *Admin) counter(ctx context.Context, name string) (int, error) {
	path := "/stats?format=json&filter=" + url.QueryEscape("^"+regexp.QuoteMeta(name)+"$")
	var dump struct {
		Stats []struct {
			Name  string `json:"name"`
			Value int    `json:"value"`
		} `json:"stats"`
	}
	if err := a.api.Get(ctx, path, &dump); err != nil {
		return 0, err
	}
	for _, s := range dump.Stats {
		if s.Name == name {
			return s.Value, nil
		}
	}
	return 0, fmt.Errorf("envoy has no statistic %q", name)
}

func (a *Admin) hosts(ctx context.Context, cluster string) ([]hostStatus, error) {
	var dump clusters
	if err := a.api.Get(ctx, "/clusters?format=json", &dump); err != nil {
		return nil, err
	}
	for _, c := range dump.Clusters {
		if c.Name == cluster {
			return c.Hosts, nil
		}
	}
	return nil, fmt.Errorf("envoy has no cluster %q", cluster)
}
