package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/envoy"
	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// warmWithin is how long a cluster that CDS changed may wait for its endpoints. Envoy
// gives up after 15 s, its initial_fetch_timeout.
const warmWithin = 5 * time.Second

// A control plane of the user's own changes clusters while rollcall serves their
// endpoints. Envoy asks again then, but for delta ADS: there it says nothing (1.40.0), and
// takes the endpoints from its own cache at the end of initial_fetch_timeout.
func TestClustersThatCDSChangesWarmAtOnce(t *testing.T) {
	for _, api := range envoy.APIs() {
		t.Run(string(api), func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			h.eds()
			u := h.upstream()
			cds := h.cds(api)
			cds.serve("first", 1)
			h.ownEnvoy(cds.bootstrap())

			cds.serve("first", 2)
			h.warms("a cluster that CDS updated", u, "first", 2)
			cds.serve("first", 2, "second", 1)
			h.warms("a second cluster of the service", u, "second", 1)
			cds.serve("second", 1)
			cds.serve("second", 1, "first", 3)
			h.warms("a cluster that was removed and added again", u, "first", 3)
			cds.serve("second", 2)
			h.warms("one removed and one updated at once", u, "second", 2)
			cds.serve()
			cds.serve("first", 4)
			h.warms("the only cluster of the service, removed and added again", u, "first", 4)
		})
	}
}

// cds is a cluster discovery service in a file.
type cds struct {
	h       *harness
	boot    bootstrap
	cluster map[string]any // of which all are made
	file    string
}

func (h *harness) cds(api envoy.API) cds {
	h.t.Helper()
	boot := h.bootstrap(api)
	cluster := boot.cluster(stage.Backend)
	if api == envoy.DeltaADS {
		eds, _ := cluster["eds_cluster_config"].(map[string]any)["eds_config"].(map[string]any)
		eds["initial_fetch_timeout"] = "1s"
	}
	return cds{h, boot, cluster, filepath.Join(h.Dir, "cds.yaml")}
}

// serve makes these the clusters, each as a name and a connect timeout in seconds, by
// which a test tells what Envoy uses.
func (c cds) serve(nameAndTimeout ...any) {
	c.h.t.Helper()
	var clusters []any
	for i := 0; i < len(nameAndTimeout); i += 2 {
		cluster := maps.Clone(c.cluster)
		cluster["@type"] = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
		cluster["name"], cluster["connect_timeout"] = nameAndTimeout[i], fmt.Sprintf("%ds", nameAndTimeout[i+1])
		clusters = append(clusters, cluster)
	}
	next := c.h.write("cds.next.yaml", map[string]any{"version_info": fmt.Sprint(nameAndTimeout...), "resources": clusters})
	if err := os.Rename(next, c.file); err != nil { // Envoy watches for a move
		c.h.t.Fatal(err)
	}
}

// bootstrap writes one whose clusters are those that are served.
func (c cds) bootstrap() string {
	c.h.t.Helper()
	dynamic, _ := c.boot["dynamic_resources"].(map[string]any)
	if dynamic == nil {
		dynamic = make(map[string]any)
	}
	dynamic["cds_config"] = map[string]any{"resource_api_version": "V3", "path_config_source": map[string]any{"path": c.file}}
	c.boot["dynamic_resources"] = dynamic
	c.boot["static_resources"] = map[string]any{"clusters": []any{c.boot.cluster("xds_cluster")}}
	return c.h.write("cds-bootstrap.yaml", c.boot)
}

// warms waits until Envoy uses a cluster as CDS says it is, with u as its endpoint.
func (h *harness) warms(what string, u *stage.Upstream, cluster string, timeout int) {
	h.t.Helper()
	began := time.Now()
	h.eventually(what, func(ctx context.Context) error {
		ports, err := h.Admin.Hosts(ctx, cluster)
		if err != nil || len(ports) != 1 || ports[0] != u.Port {
			return fmt.Errorf("cluster %s has ports %v: %w", cluster, ports, err)
		}
		dump, err := stage.NewAPI(h.Addresses.Admin).Expect(ctx, 200, "GET", "/config_dump?resource=dynamic_active_clusters", "")
		if err != nil {
			return err
		}
		var got struct {
			Configs []struct {
				Cluster struct {
					Name           string `json:"name"`
					ConnectTimeout string `json:"connect_timeout"`
				} `json:"cluster"`
			} `json:"configs"`
		}
		if err := json.Unmarshal([]byte(dump), &got); err != nil {
			return err
		}
		for _, c := range got.Configs {
			if c.Cluster.Name == cluster && c.Cluster.ConnectTimeout == fmt.Sprintf("%ds", timeout) {
				return nil
			}
		}
		return fmt.Errorf("cluster %s is not active as CDS says: %+v", cluster, got.Configs)
	})
	took := time.Since(began)
	h.t.Logf("%s was warm after %s", what, took.Round(time.Millisecond))
	if took > warmWithin {
		h.t.Errorf("%s was warm after %s, want %s at most", what, took, warmWithin)
	}
}
