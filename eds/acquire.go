package eds

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/rollcall-fleet/rollcall/eds/internal/follow"
	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/internal/database"
	"github.com/rollcall-fleet/rollcall/internal/panics"
)

// How long to wait for the database, which a predecessor may still be closing; one
// that still has an address is not about to.
const (
	lockWait = 5 * time.Second
	lockLook = 10 * time.Millisecond
)

// acquired is what one EDS server alone can have.
type acquired struct {
	db        *database.DB
	http, xds net.Listener
}

// acquire takes all of it, and leaves to stops what it took. The error names
// everything that cannot be had, so that a second server learns at once all that
// it needs of its own.
func acquire(opts Options, stops *stopper, catcher panics.Catcher) (a acquired, err error) {
	var errs [4]error
	if a.http, errs[0] = listen("HTTP", opts.HTTP); errs[0] == nil {
		stops.add("http port", closing(a.http))
	}
	if a.xds, errs[1] = listen("XDS", opts.XDS); errs[1] == nil {
		stops.add("xds port", closing(a.xds))
	}
	errs[2] = free("Gossip", opts.Gossip)
	wait := lockWait
	if errors.Join(errs[:3]...) != nil {
		wait = lockLook
	}
	if a.db, errs[3] = openDB(opts, wait, catcher); errs[3] == nil {
		stops.add("database", a.db.Close)
	}
	return a, errors.Join(errs[:]...)
}

func openDB(opts Options, wait time.Duration, catcher panics.Catcher) (*database.DB, error) {
	db, err := database.Open(database.Options{
		Dir: opts.DataDir, Wait: wait, Recover: opts.Recover, Logger: opts.Logger, Panics: catcher,
		Buckets: append(override.BucketNames(), string(follow.OldBucket)),
	})
	if errors.Is(err, database.ErrInUse) {
		return nil, fmt.Errorf("option DataDir %s is in use by another EDS server: give each server its own", opts.DataDir)
	}
	return db, err
}

func listen(option string, addr netip.AddrPort) (net.Listener, error) {
	lis, err := net.Listen("tcp", addr.String())
	if err != nil {
		return nil, fmt.Errorf("listen on option %s %s: %w", option, addr, err)
	}
	return lis, nil
}

// free returns an error when addr is taken, for UDP or TCP. Gossip takes it later,
// once the database has said who is remembered.
func free(option string, addr netip.AddrPort) error {
	lis, err := listen(option, addr)
	if err != nil {
		return err
	}
	udp, err := net.ListenPacket("udp", addr.String())
	if err != nil {
		return errors.Join(fmt.Errorf("listen on option %s %s: %w", option, addr, err), lis.Close())
	}
	return errors.Join(udp.Close(), lis.Close())
}

// closing closes a listener that its server may have closed already.
func closing(lis net.Listener) func() error {
	return func() error {
		if err := lis.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	}
}
