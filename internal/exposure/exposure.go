// Package exposure keeps addresses that other machines can reach from being opened
// without a lock. Loopback needs none; everything else is refused at start, with
// the flags that would lock it, unless the operator insists.
package exposure

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"
)

// remindEvery is how often an open address is logged again.
const remindEvery = time.Hour

// Address is one that is listened at or told to others.
type Address struct {
	Flag   string     // the flag that set it, such as --http
	Addr   netip.Addr // invalid: not given
	Locked bool
	Lock   string // what to pass to lock it, such as "--gossip-key-file FILE"
}

// open reports whether other machines get in.
func (a Address) open() bool {
	return a.Addr.IsValid() && !a.Addr.Unmap().IsLoopback() && !a.Locked
}

// Check returns the addresses that are open to other machines without a lock, and
// an error that names each and its lock unless insecure is said.
func Check(insecure bool, addrs ...Address) (open []Address, err error) {
	var errs []error
	for _, a := range addrs {
		if !a.open() {
			continue
		}
		open = append(open, a)
		errs = append(errs, fmt.Errorf("%s %s can be reached from other machines and nothing locks it: pass %s", a.Flag, a.Addr, a.Lock))
	}
	if insecure || len(errs) == 0 {
		return open, nil
	}
	errs = append(errs, errors.New("or pass a loopback address, or --insecure to let anybody in"))
	return open, errors.Join(errs...)
}

// Warn logs what is open, now and every hour, until stop is called, which waits
// for it to end. With nothing open it does nothing.
func Warn(logger *slog.Logger, open []Address) (stop func()) {
	if len(open) == 0 {
		return func() {}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		remind(ctx, logger, open)
	}()
	return func() { cancel(); <-done }
}

func remind(ctx context.Context, logger *slog.Logger, open []Address) {
	var what, locks []string
	for _, a := range open {
		what, locks = append(what, a.Flag+" "+a.Addr.String()), append(locks, a.Lock)
	}
	tick := time.NewTicker(remindEvery)
	defer tick.Stop()
	for {
		logger.Warn("address is open to every machine that can reach it, by --insecure",
			"open", strings.Join(what, ", "), "lock", strings.Join(locks, "; "))
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
