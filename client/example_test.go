package client_test

import (
	"context"
	"fmt"
	"log"

	"github.com/rollcall-fleet/rollcall/client"
)

// A deployment script that drains one endpoint for ten minutes.
func Example() {
	c, err := client.New(client.Options{Servers: []string{"10.0.0.5:8080", "10.0.0.6:8080"}, Actor: "deploy"})
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	got, err := c.Decide(context.Background(), "payments", "10.0.0.7:8081", client.Change{"state": client.Drain}, client.Terms{For: "10m", Reason: "deploy"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(got.Value.Endpoint.State, got.Value.Endpoint.Acked.Have, "of", got.Value.Endpoint.Acked.Of)
}
