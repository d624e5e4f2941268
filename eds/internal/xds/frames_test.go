package xds

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/internal/budget"
)

// lengthed is the beginning of a gRPC message of n bytes.
func lengthed(n int) []byte { return binary.BigEndian.AppendUint32([]byte{0}, uint32(n)) }

// halves writes frames as a client of HTTP/2 does, and says what it has written of
// messages that are large and not complete.
func halves(t *testing.T, write func(*http2.Framer)) []byte {
	t.Helper()
	var b bytes.Buffer
	b.WriteString(http2.ClientPreface)
	f := http2.NewFramer(&b, nil)
	must(t, f.WriteSettings())
	write(f)
	return b.Bytes()
}

// fed is a connection that reads from r.
type fed struct {
	net.Conn
	r io.Reader
}

func (f fed) Read(p []byte) (int, error) { return f.r.Read(p) }
func (fed) Close() error                 { return nil }
func (fed) RemoteAddr() net.Addr         { return &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 1} }

func TestPartsOfLargeMessagesCountUntilTheyAreComplete(t *testing.T) {
	const large = 100_000
	part := append(lengthed(large), make([]byte, 10_000)...)
	for name, tt := range map[string]struct {
		write func(*http2.Framer)
		want  int64
	}{
		"a small message counts, too": {func(f *http2.Framer) { _ = f.WriteData(1, false, append(lengthed(100), make([]byte, 50)...)) }, 50},
		"a part counts":               {func(f *http2.Framer) { _ = f.WriteData(1, false, part) }, 10_000},
		"parts of streams add up": {func(f *http2.Framer) {
			_, _ = f.WriteData(1, false, part), f.WriteData(3, false, part)
			_ = f.WriteData(1, false, make([]byte, 5))
		}, 20_005},
		"the head may come in pieces": {func(f *http2.Framer) {
			for i := range part {
				_ = f.WriteData(1, false, part[i:i+1])
			}
		}, 10_000},
		"padding does not count": {func(f *http2.Framer) { _ = f.WriteDataPadded(1, false, part, make([]byte, 200)) }, 10_000},
		"what is complete does not": {func(f *http2.Framer) {
			_ = f.WriteData(1, false, part)
			for left := large - 10_000; left > 0; left -= 15_000 {
				_ = f.WriteData(1, false, make([]byte, 15_000))
			}
		}, 0},
		"another message may follow in the frame": {func(f *http2.Framer) {
			_ = f.WriteData(1, false, append(append(lengthed(7), make([]byte, 7)...), part...))
		}, 10_000},
		"a stream that ends has none":       {func(f *http2.Framer) { _ = f.WriteData(1, true, part) }, 0},
		"a stream that is reset has none":   {func(f *http2.Framer) { _, _ = f.WriteData(1, false, part), f.WriteRSTStream(1, http2.ErrCodeCancel) }, 0},
		"other frames are passed over":      {func(f *http2.Framer) { _, _ = f.WritePing(false, [8]byte{}), f.WriteData(5, false, part) }, 10_000},
		"a frame may be empty":              {func(f *http2.Framer) { _, _ = f.WriteData(1, false, part), f.WriteData(1, false, nil) }, 10_000},
		"a frame may be padding alone":      {func(f *http2.Framer) { _ = f.WriteDataPadded(1, false, nil, make([]byte, 9)) }, 0},
		"nothing of the payload is to come": {func(f *http2.Framer) { _ = f.WriteData(1, false, lengthed(0)) }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			all := halves(t, tt.write)
			for _, most := range []int{1, 7, 100, len(all)} {
				m := newMeter(fed{r: bytes.NewReader(all)}, budget.New(budget.Options{Total: 1 << 20, Waiting: 10}), func() {})
				var got bytes.Buffer
				if _, err := io.CopyBuffer(&got, struct{ io.Reader }{m}, make([]byte, most)); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(got.Bytes(), all) {
					t.Error("what is read is not what was sent")
				}
				if m.taken != tt.want {
					t.Errorf("%d bytes count, want %d", m.taken, tt.want)
				}
				must(t, m.Close())
				if m.taken != 0 {
					t.Error("it keeps its share when it is closed")
				}
			}
		})
	}
}

// FuzzFrames checks that the meter passes on what is sent, and keeps nothing.
func FuzzFrames(f *testing.F) {
	f.Add([]byte(http2.ClientPreface), uint64(1))
	f.Add(append([]byte(http2.ClientPreface), 0, 0, 9, 0, 8, 0, 0, 0, 1, 3, 0, 0, 255, 255, 0, 0, 0, 0), uint64(2))
	f.Fuzz(func(t *testing.T, sent []byte, seed uint64) {
		room, random := budget.New(budget.Options{Total: 1 << 20, Waiting: 10}), rand.New(rand.NewPCG(seed, 0))
		m := newMeter(fed{r: bytes.NewReader(sent)}, room, func() {})
		var got []byte
		for {
			p := make([]byte, 1+random.IntN(50))
			n, err := m.Read(p)
			got = append(got, p[:n]...)
			if err != nil {
				break
			}
		}
		if m.err == nil && !bytes.Equal(got, sent) {
			t.Error("what is read is not what was sent")
		}
		must(t, m.Close())
		if err := room.Take(t.Context(), m.party, 1<<20); err != nil {
			t.Errorf("something is kept: %v", err)
		}
	})
}

// A client begins large messages on many streams and completes none.
func TestIncompleteMessagesAreBounded(t *testing.T) {
	const room = 1 << 20
	s := start(t, Options{MaxRequestBytes: room})
	s.Update(settled())
	conn, err := net.Dial("tcp", s.conn.Target())
	must(t, err)
	defer conn.Close()
	var head bytes.Buffer
	enc := hpack.NewEncoder(&head)
	for _, h := range [][2]string{{":method", "POST"}, {":scheme", "http"}, {":path", "/envoy.service.endpoint.v3.EndpointDiscoveryService/StreamEndpoints"},
		{":authority", "x"}, {"content-type", "application/grpc"}, {"te", "trailers"}} {
		must(t, enc.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]}))
	}
	sent := halves(t, func(f *http2.Framer) {
		for i := range 60 {
			stream := uint32(2*i + 1)
			must(t, f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: head.Bytes(), EndHeaders: true}))
			must(t, f.WriteData(stream, false, append(lengthed(room), make([]byte, 16_000)...)))
			must(t, f.WriteData(stream, false, make([]byte, 16_000)))
		}
	})
	go func() { _, _ = conn.Write(sent) }()
	must(t, conn.SetReadDeadline(time.Now().Add(3*messageWait)))
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("the connection is not closed")
	}
	ctx, cancel := context.WithTimeout(t.Context(), messageWait)
	defer cancel()
	must(t, s.room.Take(ctx, fleet.PartyOf("127.0.0.1:1"), room)) // all of it is there again
	s.room.Give(fleet.PartyOf("127.0.0.1:1"), room)
	honest := openADS(t, s.conn)
	honest.send(&discoveryv3.DiscoveryRequest{TypeUrl: typeV3, ResourceNames: []string{"a"}})
	_, err = honest.recv()
	must(t, err)
}
