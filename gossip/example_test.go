package gossip_test

import (
	"fmt"
	"log"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip"
)

// A tool that joins the pool as a member without an endpoint, and reads who is there.
func Example() {
	pool, err := gossip.Start(gossip.Options{
		Member: fleet.Member{ID: uuid.New(), Role: fleet.RoleEDS, Started: time.Now(), Version: fleet.FormatVersion},
		Bind:   netip.MustParseAddrPort("127.0.0.1:0"),
		Seeds:  []string{"127.0.0.1:7946"},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	<-pool.Changed()
	for _, m := range pool.Members() {
		fmt.Println(m.Service, m.Endpoint.Addr, m.Liveness)
	}
}

func ExampleParseProfile() {
	_, err := gossip.ParseProfile("slow")
	fmt.Println(err != nil)
	p, _ := gossip.ParseProfile("wan")
	fmt.Println(p)
	// Output:
	// true
	// wan
}
