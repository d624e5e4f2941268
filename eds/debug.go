package eds

import (
	"context"

	"github.com/rollcall-fleet/rollcall/eds/internal/debug"
	"github.com/rollcall-fleet/rollcall/eds/internal/middleware"
	"github.com/rollcall-fleet/rollcall/internal/panics"
)

// serveDebug opens the debug port, which refuses anything but loopback.
func serveDebug(stops *stopper, failed chan<- error, opts Options, catcher panics.Catcher) error {
	lis, err := listen("Debug", opts.Debug)
	if err != nil {
		return err
	}
	stops.add("debug port", closing(lis))
	server := debug.NewServer(middleware.Options{Listen: opts.Debug.Addr(), Logger: opts.Logger, Panics: catcher})
	stops.goServe("debug server", failed, func(ctx context.Context) error { return serveHTTP(ctx, server, lis) })
	opts.Logger.Info("debug port is open to this machine", "address", lis.Addr())
	return nil
}
