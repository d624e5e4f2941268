package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"strings"
	"syscall"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// own is the sample of a bootstrap that a user writes, at the fleet's addresses.
func (h *harness) own() bootstrap {
	h.t.Helper()
	text := string(must2(os.ReadFile("../envoy/own.yaml"))(h.t))
	for well, here := range map[string]string{
		stage.WellKnown().Admin: h.Addresses.Admin, stage.WellKnown().Listener: h.Addresses.Listener, stage.WellKnown().XDS: h.Addresses.XDS,
	} {
		from, to := strings.Split(well, ":")[1], strings.Split(here, ":")[1]
		if strings.Count(text, "port_value: "+from+"}") != 1 {
			h.t.Fatalf("the sample has port %s not once", from)
		}
		text = strings.Replace(text, "port_value: "+from+"}", "port_value: "+to+"}", 1)
	}
	var boot bootstrap
	if err := yaml.Unmarshal([]byte(text), &boot); err != nil {
		h.t.Fatal(err)
	}
	boot.cluster(stage.Backend)["eds_cluster_config"].(map[string]any)["service_name"] = h.Service
	return boot
}

// grow adds clusters like the first one, until there are so many beside the one for the
// EDS servers.
func (b bootstrap) grow(n int) {
	clusters, _ := b.static()["clusters"].([]any)
	for i := 1; i < n; i++ {
		cluster := maps.Clone(b.cluster(stage.Backend))
		cluster["name"] = fmt.Sprintf("cluster-%d", i)
		clusters = append(clusters, cluster)
	}
	b.static()["clusters"] = clusters
}

// Envoy opens a stream for each cluster, and by default no more than 1,024.
func TestAnOwnEnvoyHasTheEndpointsOf1100Clusters(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.eds()
	u := h.upstream()
	boot := h.own()
	boot.grow(1100)
	h.ownEnvoy(h.write("own.yaml", boot))
	h.eventually("each cluster has the endpoint", func(ctx context.Context) error {
		body, err := stage.NewAPI(h.Addresses.Admin).Expect(ctx, http.StatusOK, http.MethodGet, "/clusters", "")
		if n := strings.Count(body, fmt.Sprintf("::127.0.0.1:%d::cx_active", u.Port)); err == nil && n != 1100 {
			err = fmt.Errorf("%d of 1100 clusters have the endpoint", n)
		}
		return err
	})
}

// An EDS server that hangs, or whose host lost its power, closes no connection.
func TestAnOwnEnvoyNoticesAnEDSServerThatHangs(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	eds := h.eds()
	u := h.upstream()
	h.ownEnvoy(h.write("own.yaml", h.own()))
	h.serves(u)
	must(t, 0, eds.Signal(syscall.SIGSTOP))
	t.Cleanup(func() { _ = eds.Signal(syscall.SIGCONT) })
	h.eventually("envoy gives up the connection", func(ctx context.Context) error {
		n, err := h.Admin.UnansweredPings(ctx, "rollcall")
		if err == nil && n == 0 {
			err = errors.New("no ping has gone unanswered")
		}
		return err
	})
}
