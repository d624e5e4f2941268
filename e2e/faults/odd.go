package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rollcall-fleet/rollcall/upstream"
)

// oddEnv makes a program that calls Odd an odd upstream: it holds the address to
// serve at, the seed to join and the name of the pool.
const oddEnv = "ROLLCALL_E2E_ODD"

// Odd is to be called first in the main function of a program that starts odd
// upstreams: as such a one it serves until SIGTERM and reports true. Its gossip
// goes on while SIGUSR1 has it hang at every request, SIGUSR2 has it answer its
// health path with 503, and SIGHUP makes it well again.
func Odd() (was bool, err error) {
	values := strings.Split(os.Getenv(oddEnv), ",")
	if len(values) != 3 {
		return false, nil
	}
	listen, seed, pool := values[0], values[1], values[2]
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	moods := make(chan os.Signal, 1)
	signal.Notify(moods, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGHUP) // before anybody can know of it
	o := &odd{well: make(chan struct{})}
	close(o.well)
	lis, err := net.Listen("tcp", listen)
	if err != nil {
		return true, err
	}
	reg, err := upstream.Register(ctx, lis, upstream.Service{Name: "myservice"}, upstream.WithSeeds(seed), upstream.WithFleet(pool), upstream.WithHealth(o.health),
		upstream.WithGossip(netip.AddrPortFrom(netip.MustParseAddrPort(listen).Addr(), 0)))
	if err != nil {
		return true, err
	}
	go func() { // ends with the process
		for s := range moods {
			o.change(s)
		}
	}()
	return true, reg.Serve(ctx, &http.Server{Handler: o.handler(reg)})
}

// slowPath is answered after slowTime.
const (
	slowPath = "/slow"
	slowTime = 2 * time.Second
)

type odd struct {
	ill atomic.Bool

	mu   sync.Mutex
	well chan struct{} // closed unless it hangs
}

func (o *odd) change(s os.Signal) {
	o.mu.Lock()
	defer o.mu.Unlock()
	select {
	case <-o.well:
	default:
		close(o.well)
	}
	o.ill.Store(s == syscall.SIGUSR2)
	if s == syscall.SIGUSR1 {
		o.well = make(chan struct{})
	}
}

// wait hangs while it is to hang.
func (o *odd) wait(ctx context.Context) error {
	o.mu.Lock()
	well := o.well
	o.mu.Unlock()
	select {
	case <-well:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (o *odd) health(ctx context.Context) error {
	if err := o.wait(ctx); err != nil || !o.ill.Load() {
		return err
	}
	return errors.New("ill")
}

func (o *odd) handler(reg *upstream.Registration) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := o.wait(r.Context()); err != nil {
			return
		}
		if r.URL.Path == slowPath {
			time.Sleep(slowTime)
		}
		_, _ = io.WriteString(w, reg.ID().String()) // who has gone needs no answer
	})
}

// oddEnvironment makes a program an odd upstream.
func oddEnvironment(listen, seed, pool string) string {
	return fmt.Sprintf("%s=%s,%s,%s", oddEnv, listen, seed, pool)
}
