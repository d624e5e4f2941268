package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/envoy"
	words "github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
	"github.com/rollcall-fleet/rollcall/internal/memnet"
)

// metric reads one of the EDS server's metrics by its name with its labels.
func (h *harness) metric(ctx context.Context, name string) (float64, error) {
	return metricOf(ctx, h.API, name)
}

func metricOf(ctx context.Context, api *stage.API, name string) (float64, error) {
	body, err := api.Expect(ctx, http.StatusOK, http.MethodGet, "/metrics", "")
	if err != nil {
		return 0, err
	}
	found := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(name) + ` (\S+)$`).FindStringSubmatch(body)
	if found == nil {
		return 0, fmt.Errorf("there is no metric %s", name)
	}
	return strconv.ParseFloat(found[1], 64)
}

func (h *harness) refusedByGossip(cause string, least float64) {
	h.t.Helper()
	h.eventually("gossip refuses for "+cause, func(ctx context.Context) error {
		n, err := h.metric(ctx, fmt.Sprintf("rollcall_gossip_refused_total{cause=%q}", cause))
		if err == nil && n < least {
			err = fmt.Errorf("%v are counted, want %v", n, least)
		}
		return err
	})
}

func TestFakeMembersFindNoRoomAndTakeNobodysName(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.eds("--max-members", "200")
	h.envoy(envoy.GRPC, "--no-retries")
	one := h.upstream()
	h.serves(one)
	before := must2(h.metric(within(t, patience), "process_resident_memory_bytes"))(t)
	meta := must2(words.Encode(words.Member{
		Role: words.RoleUpstream, Version: words.FormatVersion, Started: time.Now(), Service: h.Service,
		Endpoint: words.Endpoint{Addr: netip.MustParseAddrPort("127.0.0.1:9"), Weight: 1, Health: words.Healthy},
		Probe:    words.Probe{Kind: words.ProbeHTTP, Path: words.DefaultHealthPath},
	}))(t)
	conn := must2(net.Dial("udp", h.Addresses.Gossip))(t)
	defer conn.Close()

	load := h.load()
	elsewhere := netip.MustParseAddrPort("127.1.0.1:9")
	_, _ = conn.Write(memnet.Alive(h.Pool, one.ID, elsewhere, 1000, meta))
	h.refusedByGossip("conflict", 1)
	for i := range 10_000 {
		at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)}), 9)
		_, _ = conn.Write(memnet.Alive(h.Pool, uuid.NewString(), at, 1, meta))
		if i%100 == 0 {
			time.Sleep(time.Millisecond) // so that most of them are read
		}
	}
	h.refusedByGossip("members", 1000)
	h.isUnderWay(load)
	h.noneFailed(load)
	h.serves(one)
	if after := must2(h.metric(within(t, patience), "process_resident_memory_bytes"))(t); after > before+200<<20 {
		t.Errorf("memory went from %.0f to %.0f bytes", before, after)
	}
}
