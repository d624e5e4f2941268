package stage

import (
	"context"
	"fmt"
	"net/http"
	"slices"
)

// Backend is the cluster that the bootstrap of `rollcall envoy` routes `/` to.
const Backend = "service_backend"

// Admin reads Envoy's admin port.
type Admin struct{ api *API }

// NewAdmin returns a reader of the Envoy whose admin address is addr.
func NewAdmin(addr string) *Admin { return &Admin{api: NewAPI(addr)} }

// Ready returns nil once Envoy serves: its clusters have been warmed.
func (a *Admin) Ready(ctx context.Context) error {
	_, err := a.api.Expect(ctx, http.StatusOK, http.MethodGet, "/ready", "")
	return err
}

// Hosts returns the ports of the hosts that Envoy has in a cluster, sorted.
func (a *Admin) Hosts(ctx context.Context, cluster string) ([]int, error) {
	var dump struct {
		Clusters []struct {
			Name  string `json:"name"`
			Hosts []struct {
				Address struct {
					Socket struct {
						Port int `json:"port_value"`
					} `json:"socket_address"`
				} `json:"address"`
			} `json:"host_statuses"`
		} `json:"cluster_statuses"`
	}
	if err := a.api.Get(ctx, "/clusters?format=json", &dump); err != nil {
		return nil, err
	}
	for _, c := range dump.Clusters {
		if c.Name != cluster {
			continue
		}
		ports := []int{}
		for _, h := range c.Hosts {
			ports = append(ports, h.Address.Socket.Port)
		}
		slices.Sort(ports)
		return ports, nil
	}
	return nil, fmt.Errorf("envoy has no cluster %q", cluster)
}
