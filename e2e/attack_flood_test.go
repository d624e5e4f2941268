package e2e

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/envoy"
	words "github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/internal/memnet"
)

// crowd makes up members that are at nobody's address.
type crowd struct {
	meta []byte
	n    int
}

func newCrowd(t *testing.T, service string) *crowd {
	t.Helper()
	return &crowd{meta: must2(words.Encode(words.Member{
		Role: words.RoleUpstream, Version: words.FormatVersion, Started: time.Now(), Service: service,
		Endpoint: words.Endpoint{Addr: netip.MustParseAddrPort("127.0.0.1:9"), Weight: 1, Health: words.Healthy},
		Probe:    words.Probe{Kind: words.ProbeHTTP, Path: words.DefaultHealthPath},
	}))(t)}
}

// next is the name of one more, and where it says that it gossips.
func (c *crowd) next() (string, netip.AddrPort) {
	c.n++
	return uuid.NewString(), netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, byte(c.n >> 8), byte(c.n)}), 9)
}

// packets sends n of them to an address, each in a packet.
func (c *crowd) packets(t *testing.T, pool, to string, key []byte, n int) {
	t.Helper()
	conn := must2(net.Dial("udp", to))(t)
	defer conn.Close()
	for i := range n {
		name, at := c.next()
		_, _ = conn.Write(must2(memnet.Sealed(pool, key, memnet.Alive(pool, name, at, 1, c.meta)))(t))
		if i%100 == 0 {
			time.Sleep(time.Millisecond) // so that most of them are read
		}
	}
}

// join comes to an address with n of them in one stream.
func (c *crowd) join(t *testing.T, pool, to string, key []byte, n int) {
	t.Helper()
	var listed [][]byte
	for range n {
		name, at := c.next()
		listed = append(listed, memnet.Listed(name, at, 1, c.meta))
	}
	stream := must2(memnet.PushPull(pool, key, listed...))(t)
	conn := must2(net.Dial("tcp", to))(t)
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	_, _ = conn.Write(stream)
	if got := must2(io.ReadAll(conn))(t); len(got) < 100 { // its own state, sealed
		t.Fatalf("the join is answered by %q", got)
	}
}

// Whoever floods has the pool's key and is not locked out. Who is in is served, an
// operator's decision reaches Envoy, and the API answers meanwhile.
func TestAFloodOfJoinsWithTheKeyTurnsNobodyOut(t *testing.T) {
	t.Parallel()
	const most = 200
	h, s := newHarness(t), newSecrets(t)
	h.eds(append(s.server(), "--max-members", fmt.Sprint(most))...)
	h.envoy(envoy.GRPC, "--no-retries")
	one, two := h.upstream(s.wary()...), h.upstream(s.member()...)
	h.serves(one, two)
	before := must2(h.metric(within(t, patience), "process_resident_memory_bytes"))(t)

	load := h.load()
	c := newCrowd(t, h.Service)
	for weight := range 10 {
		c.packets(t, h.Pool, h.Addresses.Gossip, s.raw, 1_000)
		h.alive(most)
		c.join(t, h.Pool, h.Addresses.Gossip, s.raw, 1_000)
		h.decide(200, "PATCH", one.ID, fmt.Sprintf(`{"load_balancing_weight":%d}`, 2+weight))
	}
	h.weights(one, 11)
	h.refusedByGossip("members", 5_000)
	h.alive(most)
	h.isUnderWay(load)
	h.noneFailed(load)
	h.serves(one, two)
	if after := must2(h.metric(within(t, patience), "process_resident_memory_bytes"))(t); after > before+200<<20 {
		t.Errorf("memory went from %.0f to %.0f bytes", before, after)
	}
}

// alive fails the test if the EDS server knows more live members than that.
func (h *harness) alive(most int) {
	h.t.Helper()
	var got struct{ Members []struct{ Liveness string } }
	must(h.t, 0, h.API.Get(within(h.t, patience), "/members", &got))
	n := 0
	for _, m := range got.Members {
		if m.Liveness == string(words.Alive) {
			n++
		}
	}
	if n > most {
		h.t.Errorf("%d members are alive, want at most %d", n, most)
	}
}
