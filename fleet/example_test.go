package fleet_test

import (
	"fmt"
	"log"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// A member as it describes itself in the pool's metadata, and back.
func ExampleEncode() {
	meta, err := fleet.Encode(fleet.Member{
		ID: uuid.MustParse("1f0c0000-2222-4333-8444-555555555555"), Role: fleet.RoleUpstream, Version: fleet.FormatVersion, Started: time.UnixMilli(1_700_000_000_000),
		Service:  "payments",
		Endpoint: fleet.Endpoint{Addr: netip.MustParseAddrPort("10.0.0.7:8081"), Weight: 50, Health: fleet.Healthy},
		Probe:    fleet.Probe{Kind: fleet.ProbeHTTP, Path: fleet.DefaultHealthPath},
	})
	if err != nil {
		log.Fatal(err)
	}
	m, err := fleet.Decode(meta)
	fmt.Println(len(meta) <= fleet.MaxMeta, m.Service, m.Endpoint.Addr, m.Endpoint.Weight, err)
	// Output: true payments 10.0.0.7:8081 50 <nil>
}
