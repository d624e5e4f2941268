package envoy

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/rollcall-fleet/rollcall/internal/golden"
)

func sampleFile(api API) string { return fmt.Sprintf("envoy-%s.yaml", api) }

func TestSamplesAreWhatBootstrapWrites(t *testing.T) {
	for _, api := range APIs() {
		out, err := Bootstrap(Options{API: api})
		if err != nil {
			t.Fatal(err)
		}
		golden.Holds(t, sampleFile(api), fmt.Sprintf("# Written by: rollcall envoy bootstrap --api %s\n%s", api, out))
	}
}

func TestEnvoyTakesEachSample(t *testing.T) {
	for _, api := range APIs() {
		validate(t, sampleFile(api))
	}
}

func TestEnvoyTakesTheSampleOfAnOwnBootstrap(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), realEnvoy(t), "--mode", "validate", "--config-path", "own.yaml", "--log-level", "error").CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestEnvoyTakesABootstrapWithEveryOption(t *testing.T) {
	for _, api := range APIs() {
		out, err := Bootstrap(Options{
			API: api, EDS: []string{"localhost:18000", "127.0.0.1:18001", "[::1]:18002"},
			Services: []string{"any,name;first", "second", "third.part_of"}, NodeID: "n1", NodeCluster: "c1",
			Listener: netip.MustParseAddrPort("[::1]:0"), Admin: netip.MustParseAddrPort("127.0.0.1:0"),
			RefreshDelay: MinRefreshDelay, NoRetries: true, AccessLog: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "bootstrap.yaml")
		if err := os.WriteFile(file, out, 0o600); err != nil {
			t.Fatal(err)
		}
		validate(t, file)
	}
}

func validate(t *testing.T, file string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), realEnvoy(t), "--mode", "validate", "--config-path", file, "--log-level", "warning").CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v\n%s", file, err, out)
	}
	if bytes.Contains(out, []byte("[warning]")) {
		t.Errorf("envoy warns about %s:\n%s", file, out)
	}
}
