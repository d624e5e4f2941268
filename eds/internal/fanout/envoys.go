package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"

	"github.com/rollcall-fleet/rollcall/envoy"
)

// envoys measures how long it takes until real Envoys have acknowledged a change, and so
// route by it.
func envoys(ctx context.Context, b *bench, w io.Writer) error {
	path, err := envoy.Find("")
	if err != nil {
		return err
	}
	c, err := b.start("rollcall")
	if err != nil {
		return err
	}
	defer c.stop()
	if _, err := c.tell(order{Do: doLoad, Load: load{1, 100}}); err != nil {
		return err
	}
	n := 20
	if b.short {
		n = 4
	}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	apis := []envoy.API{envoy.GRPC, envoy.Delta, envoy.ADS, envoy.DeltaADS}
	anyPort := netip.MustParseAddrPort("127.0.0.1:0")
	for i := range n {
		bootstrap, err := envoy.Bootstrap(envoy.Options{
			API: apis[i%len(apis)], EDS: []string{c.hello.GRPC}, Services: []string{name(0)},
			NodeID: fmt.Sprint("envoy-", i), Listener: anyPort, Admin: anyPort,
		})
		if err != nil {
			return err
		}
		wg.Go(func() { _ = envoy.Run(ctx, envoy.RunOptions{Path: path, Bootstrap: bootstrap, LogLevel: "error"}) })
	}
	if err := connected(c, n); err != nil {
		return err
	}
	var all []time.Duration
	for mark := 1; mark <= count(b, 100); mark++ {
		a, err := c.tell(order{Do: doChange, Mark: mark})
		if err != nil {
			return err
		}
		acked, err := c.tell(order{Do: doAcked, Clients: n})
		if err != nil {
			return err
		}
		all = append(all, acked.Acked.Sub(a.At))
		time.Sleep(settle)
	}
	fmt.Fprintf(w, "\n%d Envoys over gRPC, delta, ADS and delta ADS, 1 service of 100 endpoints\n  change to last acknowledgement %s\n", n, spread(all))
	return nil
}

// connected waits until n clients have acknowledged what is served.
func connected(c *child, n int) error {
	_, err := c.tell(order{Do: doAcked, Clients: n})
	return err
}
