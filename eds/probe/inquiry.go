package probe

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// A port that accepts must hold the connection this long to count as open: a
// process that dies closes its ports one after the other.
const holdFor = 20 * time.Millisecond

// knocks is how often a port that accepts and hangs up is tried again at once.
const knocks = 3

// inquiry asks a second witness about an endpoint.
type inquiry struct {
	cancel context.CancelFunc
	about  eventKind // witnessed or pinged
	since  time.Time
}

// inquire starts an inquiry in place of the one before.
func (w *watcher) inquire(about eventKind, ask func(context.Context) word) {
	w.endInquiry()
	ctx, cancel := context.WithCancel(w.loop.ctx)
	q := &inquiry{cancel: cancel, about: about, since: time.Now()}
	w.inquiry = q
	w.loop.wg.Go(func() {
		defer cancel()
		w.loop.send(event{watcher: w, inquiry: q, kind: about, said: ask(ctx)})
	})
}

// endInquiry stops the inquiry; what it still says is not heard.
func (w *watcher) endInquiry() {
	if w.inquiry != nil {
		w.inquiry.cancel()
		w.inquiry = nil
	}
}

// askGossip sends the pings that tell a server that hangs from one that is cut off.
func (w *watcher) askGossip() {
	w.inquire(pinged, func(ctx context.Context) word {
		switch {
		case w.loop.opts.Ping == nil || !w.target.Gossip.IsValid():
			return nobody
		case w.loop.opts.Ping(ctx, w.target):
			return answers
		default:
			return mute
		}
	})
}

// askWitness asks the member's gossip port whether it refuses too.
func (w *watcher) askWitness() {
	w.inquire(witnessed, func(ctx context.Context) word {
		ctx, cancel := context.WithTimeout(ctx, w.loop.opts.Timeout)
		defer cancel()
		return w.knock(ctx, w.target.Gossip)
	})
}

func (w *watcher) knock(ctx context.Context, port netip.AddrPort) word {
	if !port.IsValid() {
		return nobody
	}
	for range knocks {
		conn, err := w.loop.opts.Dial(ctx, "tcp", port.String())
		switch {
		case errors.Is(err, syscall.ECONNREFUSED):
			return refuses
		case errors.Is(err, syscall.ECONNRESET): // it closed meanwhile
		case err != nil:
			return mute
		case holds(conn):
			return answers
		}
	}
	return answers
}

func holds(conn net.Conn) bool {
	defer conn.Close()
	if err := conn.SetReadDeadline(time.Now().Add(holdFor)); err != nil {
		return false
	}
	_, err := conn.Read(make([]byte, 1))
	return err == nil || errors.Is(err, os.ErrDeadlineExceeded)
}
