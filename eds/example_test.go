package eds_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"os/signal"
	"syscall"

	"github.com/rollcall-fleet/rollcall/eds"
)

// An EDS server inside of a program of one's own, at the default addresses.
func Example() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	err := eds.Run(ctx, eds.Options{
		DataDir: "/var/lib/rollcall",
		Seeds:   []string{"10.0.0.5:7946"},
		Logger:  slog.Default(),
	})
	if err != nil {
		log.Fatal(err)
	}
}

func ExampleDefaultOptions() {
	o := eds.DefaultOptions()
	fmt.Println("gRPC discovery at", o.XDS)
	fmt.Println("probes each", o.ProbeInterval)
	fmt.Println("guard from", o.Guard, "of a service")
	// Output:
	// gRPC discovery at 127.0.0.1:18000
	// probes each 1s
	// guard from 0.5 of a service
}
