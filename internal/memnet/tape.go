package memnet

import (
	"bytes"
	"io"
	"net"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

// Tape is a transport that records what its member sends: packets, and the bytes that it
// writes to streams that it opened.
type Tape struct {
	memberlist.Transport

	mu      sync.Mutex
	stopped bool
	packets []*sent
	streams []*sent
}

type sent struct {
	to string
	b  []byte // guarded by the tape's mutex
}

// NewTape starts to record what is sent through t.
func NewTape(t memberlist.Transport) *Tape { return &Tape{Transport: t} }

// Stop stops recording; sending continues.
func (t *Tape) Stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.stopped = true
}

// WriteTo implements memberlist.Transport.
func (t *Tape) WriteTo(b []byte, addr string) (time.Time, error) {
	t.mu.Lock()
	if !t.stopped {
		t.packets = append(t.packets, &sent{addr, bytes.Clone(b)})
	}
	t.mu.Unlock()
	return t.Transport.WriteTo(b, addr)
}

// DialTimeout implements memberlist.Transport.
func (t *Tape) DialTimeout(addr string, timeout time.Duration) (net.Conn, error) {
	conn, err := t.Transport.DialTimeout(addr, timeout)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil || t.stopped {
		return conn, err
	}
	s := &sent{to: addr}
	t.streams = append(t.streams, s)
	return &taped{Conn: conn, tape: t, sent: s}, nil
}

type taped struct {
	net.Conn
	tape *Tape
	sent *sent
}

// Write implements net.Conn.
func (c *taped) Write(b []byte) (int, error) {
	c.tape.mu.Lock()
	c.sent.b = append(c.sent.b, b...)
	c.tape.mu.Unlock()
	return c.Conn.Write(b)
}

// Replay sends everything that was recorded again through from, and returns the number of
// packets and streams.
func (t *Tape) Replay(from memberlist.Transport) (packets, streams int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.packets {
		_, _ = from.WriteTo(p.b, p.to)
	}
	for _, s := range t.streams {
		conn, err := from.DialTimeout(s.to, time.Second)
		if err != nil {
			continue // its receiver has left
		}
		_ = conn.SetDeadline(time.Now().Add(time.Second))
		_, _ = conn.Write(s.b)
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	}
	return len(t.packets), len(t.streams)
}
