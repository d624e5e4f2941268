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

// The answer to a challenge is waited for twice as long as the endpoint needs for a
// handshake, within these bounds.
const (
	challengeLeast = 10 * time.Millisecond
	challengeMost  = 50 * time.Millisecond
)

// unreachableWait is the longest pause between the packets that ask for "port
// unreachable"; the first is a millisecond long, each later one twice as long.
const unreachableWait = 32 * time.Millisecond

// witness is one of those that an inquiry asks.
type witness int

const (
	gossipPings   witness = iota // pings over gossip, after time-outs
	gossipPort                   // TCP, after a refusal
	datagramPort                 // the same port over UDP
	challenged                   // the process itself, over UDP
	challengeTime                // the clock: an answer to the challenge is overdue
)

// inquiry asks further witnesses about an endpoint.
type inquiry struct {
	ctx    context.Context
	cancel context.CancelFunc
	about  eventKind // witnessed or pinged
	since  time.Time
	heard  testimony // with witnessed
}

// inquire begins an inquiry in place of the one before.
func (w *watcher) inquire(about eventKind) {
	w.endInquiry()
	ctx, cancel := context.WithCancel(w.loop.ctx)
	w.inquiry = &inquiry{ctx: ctx, cancel: cancel, about: about, since: time.Now()}
}

// question has a witness asked in the background.
func (w *watcher) question(who witness, ask func(context.Context) word) {
	q := w.inquiry
	w.loop.wg.Go(func() {
		w.loop.send(event{watcher: w, inquiry: q, kind: q.about, witness: who, said: ask(q.ctx)})
	})
}

// endInquiry stops the inquiry; what it still says is not heard.
func (w *watcher) endInquiry() {
	if w.inquiry != nil {
		w.inquiry.cancel()
		w.inquiry = nil
	}
}

// askGossip asks at the same time whether the member answers pings, whether its gossip port
// accepts connections, and whether it answers others.
func (w *watcher) askGossip() {
	w.inquire(pinged)
	stream := w.way() == streamed
	w.question(gossipPings, func(ctx context.Context) word {
		if w.loop.opts.Ping == nil || !w.target.Gossip.IsValid() {
			return nobody
		}
		ctx, cancel := context.WithTimeout(ctx, w.loop.opts.Timeout*4/5) // before the next time-out
		defer cancel()
		port, elsewhere := make(chan word, 1), make(chan bool, 1)
		w.loop.wg.Go(func() { port <- w.knock(ctx, w.target.Gossip) })
		w.loop.wg.Go(func() { elsewhere <- w.loop.opts.Elsewhere != nil && w.loop.opts.Elsewhere(ctx, w.target) })
		if w.loop.opts.Ping(ctx, w.target) {
			if stream && w.accepts(ctx) {
				return lives
			}
			switch said := <-port; said {
			case mute, refuses:
				return vouched // a process that gossips takes connections there
			default:
				return said // unasked: it is unknown whether the network works
			}
		}
		if <-elsewhere {
			return vouched
		}
		return mute
	})
}

// askWitnesses asks at the same time whether the member's gossip port refuses too, over
// TCP and over UDP, and whether its process answers a challenge, here or to others. Where
// it was the stream that was refused, at the gossip port, the endpoint is tried over TCP.
func (w *watcher) askWitnesses() {
	w.inquire(witnessed)
	port, stream := w.target.Gossip, w.way() == streamed
	if !port.IsValid() {
		w.question(gossipPort, func(context.Context) word { return nobody })
		return
	}
	w.question(gossipPort, func(ctx context.Context) word {
		ctx, cancel := context.WithTimeout(ctx, w.loop.opts.Timeout)
		defer cancel()
		if stream {
			return w.touch(ctx, w.target.Addr)
		}
		return w.knock(ctx, port)
	})
	w.question(datagramPort, func(ctx context.Context) word { return w.knockUDP(ctx, port) })
	w.question(challenged, w.challenge)
	overdue := min(max(challengeLeast, 2*w.roundTrip), challengeMost)
	w.question(challengeTime, func(ctx context.Context) word {
		select {
		case <-time.After(overdue):
		case <-ctx.Done():
		}
		return mute
	})
}

// challenge reports whether the process answers, here or to others. A firewall may reject
// UDP as well.
func (w *watcher) challenge(ctx context.Context) word {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ways := []func(context.Context, Target) bool{w.loop.opts.Challenge, w.loop.opts.Elsewhere}
	answered := make(chan bool, len(ways))
	for _, ask := range ways {
		w.loop.wg.Go(func() { answered <- ask != nil && ask(ctx, w.target) })
	}
	for range ways {
		if <-answered {
			return answers
		}
	}
	return mute
}

// knock reports what a TCP port does. It is unasked where this process has not what it
// takes to dial.
func (w *watcher) knock(ctx context.Context, port netip.AddrPort) word {
	for range knocks {
		conn, err := w.loop.opts.Dial(ctx, "tcp", port.String())
		switch {
		case err == nil:
			if holds(conn) {
				return answers
			}
		case dialFailure(err) == refused:
			return refuses
		case dialFailure(err) == helpless:
			return unasked
		case dialFailure(err) == unreachable:
			return mute
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

// knockUDP sends empty packets to a UDP port, which members of every version ignore, and
// reports whether the kernel there says that the port is unreachable. Only a connected
// socket receives that. It tries again, since a process that dies closes its ports one
// after the other.
func (w *watcher) knockUDP(ctx context.Context, port netip.AddrPort) word {
	conn, err := w.loop.opts.Dial(ctx, "udp", port.String())
	if err != nil {
		return mute
	}
	defer conn.Close()
	for pause := time.Millisecond; pause <= unreachableWait && ctx.Err() == nil; pause *= 2 {
		_, err := conn.Write(nil)
		if err == nil {
			_ = conn.SetReadDeadline(time.Now().Add(pause))
			_, err = conn.Read(make([]byte, 1))
		}
		if errors.Is(err, syscall.ECONNREFUSED) {
			return refuses
		}
	}
	return mute
}
