package e2e

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hashicorp/memberlist"

	"github.com/rollcall-fleet/rollcall/envoy"
	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// key writes a new gossip key to a file and returns its name.
func (h *harness) key(name string) string {
	h.t.Helper()
	out, err := exec.CommandContext(h.t.Context(), binary, "keygen", "gossip").Output()
	if err != nil {
		h.t.Fatal(err)
	}
	file := filepath.Join(h.Dir, name)
	if err := os.WriteFile(file, out, 0o600); err != nil {
		h.t.Fatal(err)
	}
	return file
}

// hosts returns the ports that the API lists for the fleet's service, sorted.
func (h *harness) hosts(ctx context.Context) ([]int, error) {
	s, err := h.API.Service(ctx, h.Service)
	var ports []int
	for _, host := range s.Hosts {
		ports = append(ports, host.Port)
	}
	slices.Sort(ports)
	return ports, err
}

// portsOf returns the ports of upstreams, sorted.
func portsOf(us []*stage.Upstream) []int {
	var ports []int
	for _, u := range us {
		ports = append(ports, u.Port)
	}
	slices.Sort(ports)
	return ports
}

// lists waits until the API lists exactly these upstreams for the fleet's service.
func (h *harness) lists(us ...*stage.Upstream) {
	h.t.Helper()
	want := portsOf(us)
	h.eventually("hosts in the API", func(ctx context.Context) error {
		got, err := h.hosts(ctx)
		if err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("the API lists ports %v, want %v", got, want)
		}
		return err
	})
}

func TestWrongGossipKeyIsNotLetIn(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	ours, theirs := h.key("ours"), h.key("theirs")
	eds := h.eds("--gossip-key-file", ours)
	outsider := h.upstream("--gossip-key-file", theirs)
	plain := h.upstream()
	friend := h.upstream("--gossip-key-file", ours)

	h.lists(friend)
	h.logs(eds, "decrypt")
	h.logs(outsider.Process, h.Addresses.Gossip)
	h.logs(plain.Process, h.Addresses.Gossip)
	h.lists(friend)
}

func TestOtherFleetIsNotLetIn(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	eds := h.eds("--fleet", "blue")
	outsider := h.upstream("--fleet", "green")
	friend := h.upstream("--fleet", "blue")

	h.lists(friend)
	h.logs(eds, "label")
	h.logs(outsider.Process, h.Addresses.Gossip)
	h.lists(friend)
}

func TestUpstreamServesWithoutItsSeedAndJoinsItLater(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	u := h.upstream()
	h.eds()
	h.envoy(envoy.GRPC)
	h.serves(u)
}

func TestOneOfSeveralSeedsIsEnough(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	away := stage.Local(must2(stage.FreePort())(t))
	h.eds()
	u := h.upstream("--join", away+","+h.Addresses.Gossip, "--join", away)
	h.lists(u)
}

func TestUpstreamsFindEachOtherThroughAnyMember(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	port := must2(stage.FreePort())(t)
	first := h.upstream("--gossip", stage.Local(port))
	h.eds("--join", stage.Local(port))
	h.lists(first)
}

// garbage is a member whose metadata nobody can read.
type garbage struct{}

func (garbage) NodeMeta(int) []byte             { return []byte("\xff\x00 not metadata") }
func (garbage) NotifyMsg([]byte)                {}
func (garbage) GetBroadcasts(int, int) [][]byte { return nil }
func (garbage) LocalState(bool) []byte          { return nil }
func (garbage) MergeRemoteState([]byte, bool)   {}

func TestMemberWithGarbageMetadataIsQuarantined(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	eds := h.eds("--fleet", "quarantine")
	good := h.upstream("--fleet", "quarantine")

	port := must2(stage.FreePort())(t)
	conf := memberlist.DefaultLANConfig()
	conf.Name, conf.Label = "garbage-member", "quarantine"
	conf.BindAddr, conf.BindPort, conf.AdvertisePort = "127.0.0.1", port, port
	conf.Delegate, conf.Logger = garbage{}, log.New(io.Discard, "", 0)
	pool := must2(memberlist.Create(conf))(t)
	t.Cleanup(func() { _ = pool.Shutdown() })
	must2(pool.Join([]string{h.Addresses.Gossip}))(t)

	h.eventually("the member is shown with a reason", func(ctx context.Context) error {
		var got struct {
			Members []map[string]any `json:"members"`
		}
		if err := h.API.Get(ctx, "/members", &got); err != nil {
			return err
		}
		for _, m := range got.Members {
			if s, _ := m["quarantine"].(string); s != "" && strings.Contains(fmt.Sprint(m), strconv.Itoa(port)) {
				return nil
			}
		}
		return fmt.Errorf("no quarantined member on port %d in %v", port, got.Members)
	})
	h.logs(eds, "quarantine")
	h.lists(good)
}

func TestTwoEDSServersServeTheSameVersion(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.eds()
	second := must2(stage.Fresh())(t)
	p := must2(h.StartEDSAt(second, "--join", h.Addresses.Gossip))(t)
	other := stage.NewAPI(second.HTTP)
	if err := p.Await(within(t, patience), other.Ready); err != nil {
		t.Fatal(err)
	}
	a, b := h.upstream("--az", "zone-a", "--weight", "7"), h.upstream("--canary", "--tag", "track=blue")
	h.lists(a, b)

	discover := func(ctx context.Context, api *stage.API) (string, error) {
		return api.Expect(ctx, http.StatusOK, http.MethodPost, "/v3/discovery:endpoints",
			`{"node":{"id":"test"},"resource_names":["`+h.Service+`"]}`)
	}
	h.eventually("equal answers", func(ctx context.Context) error {
		one, err := discover(ctx, h.API)
		if err != nil {
			return err
		}
		two, err := discover(ctx, other)
		if err != nil {
			return err
		}
		if one != two || !strings.Contains(one, "version_info") && !strings.Contains(one, "versionInfo") {
			return fmt.Errorf("answers differ:\n%s\n%s", one, two)
		}
		for _, u := range []*stage.Upstream{a, b} {
			if !strings.Contains(one, u.ID) {
				return fmt.Errorf("%s is not in %s", u.ID, one)
			}
		}
		return nil
	})
}
