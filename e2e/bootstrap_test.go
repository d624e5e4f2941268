package e2e

import (
	"os"
	"os/exec"
	"path/filepath"

	"sigs.k8s.io/yaml"

	"github.com/rollcall-fleet/rollcall/envoy"
)

// bootstrap is one of Envoy's, for a test to change.
type bootstrap map[string]any

// bootstrap returns what `rollcall envoy bootstrap` writes for the fleet's addresses.
func (h *harness) bootstrap(api envoy.API, args ...string) bootstrap {
	h.t.Helper()
	server := h.Addresses.XDS
	if api == envoy.REST {
		server = h.Addresses.HTTP
	}
	args = append([]string{"envoy", "bootstrap", "--api", string(api), "--eds", server, "--service", h.Service,
		"--listen", h.Addresses.Listener, "--admin", h.Addresses.Admin}, args...)
	out := must2(exec.CommandContext(h.t.Context(), binary, args...).Output())(h.t)
	var boot bootstrap
	if err := yaml.Unmarshal(out, &boot); err != nil {
		h.t.Fatal(err)
	}
	return boot
}

func (b bootstrap) static() map[string]any {
	static, _ := b["static_resources"].(map[string]any)
	return static
}

// cluster returns a static cluster; nil if there is none of that name.
func (b bootstrap) cluster(name string) map[string]any {
	clusters, _ := b.static()["clusters"].([]any)
	for _, c := range clusters {
		if cluster, _ := c.(map[string]any); cluster["name"] == name {
			return cluster
		}
	}
	return nil
}

// write writes v as YAML to a file of the fleet's and returns its path.
func (h *harness) write(name string, v any) string {
	h.t.Helper()
	file := filepath.Join(h.Dir, name)
	if err := os.WriteFile(file, must2(yaml.Marshal(v))(h.t), 0o600); err != nil {
		h.t.Fatal(err)
	}
	return file
}
