package link

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

func keys(all ...string) func() [][]byte {
	var list [][]byte
	for _, k := range all {
		list = append(list, []byte(k))
	}
	return func() [][]byte { return list }
}

func everyone(uuid.UUID) bool { return true }

// shake has server dial member over two ends of a connection.
func shake(t *testing.T, server, member Identity, known func(uuid.UUID) bool) (s, m *Conn, serverErr, memberErr error) {
	t.Helper()
	here, there := pair(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		preamble := make([]byte, len(Preamble))
		if _, memberErr = io.ReadFull(there, preamble); memberErr != nil || string(preamble) != Preamble {
			return
		}
		if m, memberErr = member.Accept(there, known); memberErr != nil {
			there.Close()
		}
	}()
	if s, serverErr = server.Dial(here, member.ID); serverErr != nil {
		here.Close()
	}
	<-done
	return s, m, serverErr, memberErr
}

// pair is a connection over loopback, with the bounds that callers set.
func pair(t *testing.T) (here, there net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	if here, err = net.Dial("tcp", ln.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if there, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []net.Conn{here, there} {
		t.Cleanup(func() { c.Close() })
		if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	return here, there
}

func TestHandshakeProvesBothEnds(t *testing.T) {
	_, right, _ := ed25519.GenerateKey(nil)
	_, wrong, _ := ed25519.GenerateKey(nil)
	pub := right.Public().(ed25519.PublicKey)
	const a, b, c = "0123456789abcdef", "fedcba9876543210", "another key of 3"
	for name, tt := range map[string]struct {
		server, member Identity
		known          func(uuid.UUID) bool
		wantServer     error // nil: any error will do if wantMember is set
		wantMember     error
	}{
		"no keys":                           {server: Identity{Keys: keys()}, member: Identity{Keys: keys()}},
		"one key":                           {server: Identity{Keys: keys(a)}, member: Identity{Keys: keys(a)}},
		"the member has moved to a new key": {server: Identity{Keys: keys(a, b)}, member: Identity{Keys: keys(b, a)}},
		"the server has moved to a new key": {server: Identity{Keys: keys(b, a)}, member: Identity{Keys: keys(a, b)}},
		"other keys":                        {server: Identity{Keys: keys(a)}, member: Identity{Keys: keys(b, c)}, wantServer: ErrKey},
		"the member has no key":             {server: Identity{Keys: keys(a)}, member: Identity{Keys: keys()}, wantServer: ErrKey},
		"the server has no key":             {server: Identity{Keys: keys()}, member: Identity{Keys: keys(a)}, wantServer: ErrKey},
		"another fleet":                     {server: Identity{Fleet: "x", Keys: keys(a)}, member: Identity{Fleet: "y", Keys: keys(a)}, wantMember: ErrFleet},
		"not in the pool":                   {server: Identity{Keys: keys(a)}, member: Identity{Keys: keys(a)}, known: func(uuid.UUID) bool { return false }, wantMember: ErrStranger},
		"signed":                            {server: Identity{Keys: keys(a), Sign: right}, member: Identity{Keys: keys(a), Trust: []ed25519.PublicKey{pub}}},
		"signed, plain":                     {server: Identity{Keys: keys(), Sign: right}, member: Identity{Keys: keys(), Trust: []ed25519.PublicKey{pub}}},
		"signed, and nobody asks":           {server: Identity{Keys: keys(), Sign: right}, member: Identity{Keys: keys()}},
		"not signed":                        {server: Identity{Keys: keys(a)}, member: Identity{Keys: keys(a), Trust: []ed25519.PublicKey{pub}}, wantMember: ErrSignature},
		"signed by another":                 {server: Identity{Keys: keys(a), Sign: wrong}, member: Identity{Keys: keys(a), Trust: []ed25519.PublicKey{pub}}, wantMember: ErrSignature},
	} {
		t.Run(name, func(t *testing.T) {
			tt.server.ID, tt.member.ID = uuid.New(), uuid.New()
			if tt.known == nil {
				tt.known = everyone
			}
			s, m, serverErr, memberErr := shake(t, tt.server, tt.member, tt.known)
			switch {
			case tt.wantServer != nil || tt.wantMember != nil:
				if tt.wantServer != nil && !errors.Is(serverErr, tt.wantServer) || tt.wantMember != nil && !errors.Is(memberErr, tt.wantMember) {
					t.Errorf("the errors are %v and %v", serverErr, memberErr)
				}
				if memberErr == nil {
					t.Error("the member is content")
				}
			case serverErr != nil || memberErr != nil:
				t.Errorf("it fails: %v and %v", serverErr, memberErr)
			default:
				if s.Peer != tt.member.ID || m.Peer != tt.server.ID {
					t.Errorf("the ends are %s and %s", s.Peer, m.Peer)
				}
				converse(t, s, m)
				converse(t, m, s)
			}
		})
	}
}

func converse(t *testing.T, from, to *Conn) {
	t.Helper()
	for _, body := range [][]byte{{}, []byte("x"), bytes.Repeat([]byte("y"), MaxBody)} {
		if err := from.Write(body); err != nil {
			t.Fatal(err)
		}
		if got, err := to.Read(); err != nil || !bytes.Equal(got, body) {
			t.Fatalf("%d bytes arrive as %d: %v", len(body), len(got), err)
		}
	}
	if err := from.Write(make([]byte, MaxBody+1)); err == nil || !strings.Contains(err.Error(), "1025") {
		t.Errorf("a frame that is too long: %v", err)
	}
}

func TestStreamForAnotherMemberIsRefused(t *testing.T) {
	server, member := Identity{ID: uuid.New(), Keys: keys()}, Identity{ID: uuid.New(), Keys: keys()}
	here, there := pair(t)
	go func() {
		if _, err := server.Dial(here, uuid.New()); err == nil {
			t.Error("the server is content")
		}
	}()
	if _, err := io.ReadFull(there, make([]byte, len(Preamble))); err != nil {
		t.Fatal(err)
	}
	if _, err := member.Accept(there, everyone); !errors.Is(err, ErrID) {
		t.Errorf("the error is %v", err)
	}
	there.Close()
}

// tap keeps what is written to a connection.
type tap struct {
	net.Conn
	wrote [][]byte
}

func (c *tap) Write(b []byte) (int, error) {
	c.wrote = append(c.wrote, slices.Clone(b))
	return c.Conn.Write(b)
}

// What was recorded of one stream is of no use in another, nor twice in the same.
func TestRecordedBytesAreRefused(t *testing.T) {
	key := keys("0123456789abcdef")
	server, member := Identity{ID: uuid.New(), Keys: key}, Identity{ID: uuid.New(), Keys: key}
	here, there := pair(t)
	recorded := &tap{Conn: here}
	accepted := make(chan *Conn, 1)
	accept := func(conn net.Conn) (*Conn, error) {
		if _, err := io.ReadFull(conn, make([]byte, len(Preamble))); err != nil {
			return nil, err
		}
		return member.Accept(conn, everyone)
	}
	go func() {
		c, _ := accept(there)
		accepted <- c
	}()
	s, err := server.Dial(recorded, member.ID)
	m := <-accepted
	if err != nil || m == nil {
		t.Fatal(err)
	}
	if err := s.Write([]byte("once")); err != nil {
		t.Fatal(err)
	}
	frame := recorded.wrote[len(recorded.wrote)-1]
	if bytes.Contains(frame, []byte("once")) {
		t.Error("the frame can be read")
	}
	if _, err := here.Write(frame); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Read(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Read(); err == nil {
		t.Error("a frame is taken twice")
	}

	again, other := pair(t)
	go func() {
		for _, b := range recorded.wrote {
			again.Write(b)
		}
		io.Copy(io.Discard, again)
	}()
	if _, err := accept(other); !errors.Is(err, ErrKey) {
		t.Errorf("a recorded handshake: %v", err)
	}
}

func FuzzAccept(f *testing.F) {
	f.Add(make([]byte, 300))
	member := Identity{ID: uuid.Nil, Keys: keys()}
	f.Fuzz(func(t *testing.T, b []byte) {
		here, there := net.Pipe()
		go func() {
			defer here.Close()
			go io.Copy(io.Discard, here)
			here.Write(b)
		}()
		if c, err := member.Accept(there, everyone); err == nil {
			for err == nil {
				_, err = c.Read()
			}
		}
		there.Close()
	})
}
