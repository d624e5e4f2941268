// Package hello is the sample upstream: an HTTP server that answers with its own id, so that
// a user can see which upstream served a request. It shows everything that a program has
// to do to join a fleet.
package hello

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/gossip"
	"github.com/rollcall-fleet/rollcall/upstream"
)

// readHeaderTimeout bounds the time a client may take to send its request's headers.
const readHeaderTimeout = 10 * time.Second

// Options configure Run. Service.Name and Listen are required.
type Options struct {
	Service   upstream.Service
	Listen    netip.AddrPort // port 0 picks a free one
	Advertise netip.AddrPort // needed when Listen is 0.0.0.0 or [::]; port 0: the one listened on

	Fleet           string
	Seeds           []string          // host:port of members to join through
	Gossip          netip.AddrPort    // invalid: the IP address of Listen, port 0
	GossipAdvertise netip.AddrPort    // invalid: Gossip
	Keys            [][]byte          // of 16, 24 or 32 bytes; the first one encrypts
	Profile         gossip.Profile    // default gossip.LAN
	Trust           []upstream.Option // its own keys, and the keys that it trusts

	DrainTimeout    time.Duration // bounds the wait until no Envoy sends requests any more; 0: no wait
	ShutdownTimeout time.Duration // for requests in flight after the drain; default upstream.DefaultShutdownTimeout
	Logger          *slog.Logger  // nil discards

	// Ready is called from Run's goroutine once the server is registered, with
	// its address and its id. It may be nil.
	Ready func(addr netip.AddrPort, id uuid.UUID)
}

// Run serves until ctx ends, then drains, leaves the pool, finishes the requests
// in flight and returns nil.
func Run(ctx context.Context, opts Options) error {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	if opts.Listen.Addr().IsUnspecified() && !opts.Advertise.IsValid() {
		return fmt.Errorf("address %s means every interface, and Envoy cannot reach that: set option Advertise to the one that it can reach", opts.Listen.Addr())
	}
	var lc net.ListenConfig
	ln, err := lc.Listen(ctx, "tcp", opts.Listen.String())
	if errors.Is(err, syscall.EADDRINUSE) {
		return fmt.Errorf("listen at %s: another process uses port %d: stop it, or choose another port: %w", opts.Listen, opts.Listen.Port(), err)
	}
	if err != nil {
		return fmt.Errorf("listen at %s: %w", opts.Listen, err)
	}
	reg, err := upstream.Register(ctx, ln, opts.Service, opts.upstream()...)
	if err != nil {
		return errors.Join(err, ln.Close())
	}
	addr := reg.Member().Endpoint.Addr
	opts.Logger.Info("serving", "address", addr, "id", reg.ID())
	if opts.Ready != nil {
		opts.Ready(addr, reg.ID())
	}
	return reg.Serve(ctx, &http.Server{
		Handler:           handler(reg.ID),
		ReadHeaderTimeout: readHeaderTimeout,
		ErrorLog:          slog.NewLogLogger(opts.Logger.Handler(), slog.LevelWarn),
	})
}

func (o Options) upstream() []upstream.Option {
	return append([]upstream.Option{
		upstream.WithAdvertise(o.Advertise),
		upstream.WithFleet(o.Fleet),
		upstream.WithSeeds(o.Seeds...),
		upstream.WithGossip(o.Gossip),
		upstream.WithGossipAdvertise(o.GossipAdvertise),
		upstream.WithKeys(o.Keys...),
		upstream.WithProfile(o.Profile),
		upstream.WithDrainTimeout(o.DrainTimeout),
		upstream.WithShutdownTimeout(cmp.Or(o.ShutdownTimeout, upstream.DefaultShutdownTimeout)),
		upstream.WithLogger(o.Logger),
	}, o.Trust...)
}

// handler answers every path except the health path, which upstream answers, with the
// current id: 36 characters and no newline.
func handler(id func() uuid.UUID) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, id().String()) // an error means that the client has disconnected
	})
}
