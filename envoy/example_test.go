package envoy_test

import (
	"fmt"
	"log"
	"strings"

	"github.com/rollcall-fleet/rollcall/envoy"
)

// The bootstrap of an Envoy that follows two EDS servers over delta ADS.
func ExampleBootstrap() {
	yaml, err := envoy.Bootstrap(envoy.Options{
		API:      envoy.DeltaADS,
		EDS:      []string{"10.0.0.5:18000", "10.0.0.6:18000"},
		Services: []string{"payments"},
		NodeID:   "edge-1",
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(strings.Contains(string(yaml), "10.0.0.6"))
	// Output: true
}
