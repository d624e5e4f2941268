package xds

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/internal/budget"
)

// gRPC collects a message of each stream in memory until all of it is there, and has no
// bound for all of them together: a connection with thousands of streams may begin as
// many large ones. So what arrives is read here first: parts of messages that are not
// complete count against a budget. Most messages are, in one frame.

const (
	frameHead     = 9  // bytes: length, type, flags, stream (RFC 9113, section 4.1)
	prefaceSize   = 24 // of what a client begins a connection with (section 3.4)
	messageHead   = 5  // bytes: compressed, length (gRPC over HTTP/2, Length-Prefixed-Message)
	frameData     = 0x0
	frameReset    = 0x3
	flagEnd       = 0x1
	flagPadded    = 0x8
	messageWait   = 5 * time.Second // for room for what arrives
	maxIncomplete = 100_000         // streams of one connection with an incomplete message
	budgetWaiters = 10_000          // connections and polls
)

var errIncomplete = errors.New("too many incomplete messages on one connection")

// metered makes a gRPC server read its connections through a meter.
type metered struct {
	credentials.TransportCredentials
	room    *budget.Budget
	refused func() // called for each connection that found no room
}

// ServerHandshake implements credentials.TransportCredentials.
func (m metered) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := m.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		return nil, nil, err
	}
	return newMeter(conn, m.room, m.refused), info, nil
}

// Clone implements credentials.TransportCredentials.
func (m metered) Clone() credentials.TransportCredentials {
	return metered{m.TransportCredentials.Clone(), m.room, m.refused}
}

// meter reads a client's frames. One goroutine calls Read, any may call Close.
type meter struct {
	net.Conn
	room    *budget.Budget
	refused func()
	party   netip.Addr
	ctx     context.Context // ends with Close
	cancel  context.CancelFunc

	// Of the reader.
	skip     int // bytes that are no frame's head or data
	head     []byte
	frame    dataFrame
	messages map[uint32]*message // that are not complete, by stream
	err      error

	mu     sync.Mutex
	taken  int64 // of the budget
	closed bool
}

// dataFrame is the frame of which the payload is being read.
type dataFrame struct {
	left   int // bytes of the payload
	stream uint32
	flags  byte
	padded bool // its first byte says how much padding follows
	pad    int
}

// message is the part of a message that has arrived so far.
type message struct {
	head  []byte
	left  int   // bytes that are missing; only with the whole head
	taken int64 // of the budget
}

func newMeter(conn net.Conn, room *budget.Budget, refused func()) *meter {
	m := &meter{
		Conn: conn, room: room, refused: refused, party: fleet.PartyOf(conn.RemoteAddr().String()), skip: prefaceSize, messages: make(map[uint32]*message),
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	return m
}

// Read implements net.Conn. What it returns has its room in the budget.
func (m *meter) Read(p []byte) (int, error) {
	if m.err != nil {
		return 0, m.err
	}
	n, err := m.Conn.Read(p)
	if m.err = m.follow(p[:n]); m.err != nil {
		return 0, m.err
	}
	return n, err
}

// Close implements net.Conn.
func (m *meter) Close() error {
	m.cancel()
	m.mu.Lock()
	m.closed = true
	if m.taken > 0 {
		m.room.Give(m.party, m.taken)
		m.taken = 0
	}
	m.mu.Unlock()
	return m.Conn.Close()
}

// take waits for room for n bytes.
func (m *meter) take(n int) error {
	if err := m.room.Take(m.ctx, m.party, int64(n)); err != nil {
		if m.ctx.Err() == nil {
			m.refused()
		}
		return fmt.Errorf("read requests: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		m.room.Give(m.party, int64(n))
		return net.ErrClosed
	}
	m.taken += int64(n)
	return nil
}

func (m *meter) give(n int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n > 0 && !m.closed {
		m.room.Give(m.party, n)
		m.taken -= n
	}
}

// follow continues to read the frames.
func (m *meter) follow(b []byte) error {
	for len(b) > 0 {
		switch {
		case m.skip > 0:
			n := min(m.skip, len(b))
			m.skip, b = m.skip-n, b[n:]
		case m.frame.left > 0:
			n, err := m.payload(b)
			if err != nil {
				return err
			}
			b = b[n:]
		default:
			n := min(frameHead-len(m.head), len(b))
			m.head, b = append(m.head, b[:n]...), b[n:]
			if len(m.head) == frameHead {
				m.begin()
			}
		}
	}
	return nil
}

// begin reads the head of a frame.
func (m *meter) begin() {
	h := m.head
	m.head = h[:0]
	length := int(h[0])<<16 | int(h[1])<<8 | int(h[2])
	stream := binary.BigEndian.Uint32(h[5:]) &^ (1 << 31)
	switch h[3] {
	case frameData:
		m.frame = dataFrame{left: length, flags: h[4], stream: stream, padded: h[4]&flagPadded != 0}
		if length == 0 {
			m.end()
		}
	case frameReset:
		m.forget(stream)
		m.skip = length
	default:
		m.skip = length
	}
}

// payload continues to read the payload of a DATA frame, and returns how much it read.
func (m *meter) payload(b []byte) (int, error) {
	f := &m.frame
	if f.padded {
		f.padded, f.pad = false, int(b[0])
		if f.left--; f.left == 0 {
			m.end()
		}
		return 1, nil
	}
	n := min(f.left-min(f.pad, f.left), len(b))
	if n == 0 { // padding
		m.skip, f.left = f.left, 0
		m.end()
		return 0, nil
	}
	if err := m.data(f.stream, b[:n]); err != nil {
		return 0, err
	}
	if f.left -= n; f.left == 0 {
		m.end()
	}
	return n, nil
}

// end is called at the end of a frame.
func (m *meter) end() {
	if m.frame.flags&flagEnd != 0 {
		m.forget(m.frame.stream)
	}
	m.frame.left = 0
}

// data continues to read the messages of a stream.
func (m *meter) data(stream uint32, b []byte) error {
	msg := m.messages[stream]
	for len(b) > 0 {
		if msg == nil {
			msg = &message{}
		}
		if len(msg.head) < messageHead {
			n := min(messageHead-len(msg.head), len(b))
			msg.head, b = append(msg.head, b[:n]...), b[n:]
			if len(msg.head) < messageHead {
				break
			}
			msg.left = int(binary.BigEndian.Uint32(msg.head[1:]))
		}
		n := min(msg.left, len(b))
		msg.left, b = msg.left-n, b[n:]
		if msg.left == 0 {
			m.complete(stream, msg)
			msg = nil
			continue
		}
		if err := m.take(n); err != nil {
			return err
		}
		msg.taken += int64(n)
	}
	if msg != nil {
		if len(m.messages) >= maxIncomplete && m.messages[stream] == nil {
			return errIncomplete
		}
		m.messages[stream] = msg
	}
	return nil
}

func (m *meter) complete(stream uint32, msg *message) {
	m.give(msg.taken)
	delete(m.messages, stream)
}

func (m *meter) forget(stream uint32) {
	if msg := m.messages[stream]; msg != nil {
		m.complete(stream, msg)
	}
}
