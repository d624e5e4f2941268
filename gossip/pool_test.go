package gossip

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
)

func TestMembersFindEachOtherThroughASeed(t *testing.T) {
	t.Parallel()
	a := open(t, Options{})
	b := open(t, Options{Seeds: seedOf(a)})
	sees(t, a, b.Self().ID, is(fleet.Alive))
	got := sees(t, b, a.Self().ID, is(fleet.Alive))
	want := a.Self()
	got.Since, want.Since = time.Time{}, time.Time{}
	if got.Gossip != want.Gossip || got.Service != "myservice" || got.Endpoint.Addr != want.Endpoint.Addr || !got.Started.Equal(want.Started) {
		t.Errorf("b sees a as %+v, want %+v", got, want)
	}
	for _, p := range []*Pool{a, b} {
		select {
		case <-p.Joined():
		default:
			t.Error("another member is seen, but Joined is still open")
		}
	}
}

func TestALoneMemberListsItselfAndHasNotJoined(t *testing.T) {
	t.Parallel()
	p := open(t, Options{})
	if ms := p.Members(); len(ms) != 1 || ms[0].ID != p.Self().ID || ms[0].Gossip.Port() == 0 {
		t.Errorf("members are %+v, want this one alone, at the bound port", ms)
	}
	select {
	case <-p.Joined():
		t.Error("nobody else is there, but Joined is closed")
	default:
	}
}

func TestTheAdvertisedAddressIsWhatOthersSee(t *testing.T) {
	t.Parallel()
	p := open(t, Options{Bind: netip.MustParseAddrPort("0.0.0.0:0"), Advertise: loopback})
	if got := p.Self().Gossip; got.Addr() != loopback.Addr() || got.Port() == 0 {
		t.Errorf("advertised %s, want 127.0.0.1 with the bound port", got)
	}
	q := open(t, Options{Advertise: netip.MustParseAddrPort("127.0.0.9:4711")})
	if got := q.Self().Gossip.String(); got != "127.0.0.9:4711" {
		t.Errorf("advertised %s, want what was passed", got)
	}
}

func TestAnAnnouncementReachesTheOthers(t *testing.T) {
	t.Parallel()
	a := open(t, Options{})
	b := open(t, Options{Seeds: seedOf(a)})
	before := sees(t, a, b.Self().ID, is(fleet.Alive))
	m := b.Self()
	m.Endpoint.Weight = 50
	revision, err := b.Announce(m)
	if err != nil {
		t.Fatal(err)
	}
	after := sees(t, a, m.ID, func(m fleet.Member) bool { return m.Endpoint.Weight == 50 })
	if after.Revision != revision || revision <= before.Revision {
		t.Errorf("revision %d was seen, want %d, which is above %d", after.Revision, revision, before.Revision)
	}
	if !after.Since.After(before.Since) {
		t.Errorf("since is %s, which is not after %s", after.Since, before.Since)
	}
	sees(t, b, m.ID, func(m fleet.Member) bool { return m.Endpoint.Weight == 50 })
	if again, err := b.Announce(m); err != nil || again != revision {
		t.Errorf("the same once more is revision %d, %v, want %d", again, err, revision)
	}
}

func TestAnnounceRefusesWhatCannotBeAnnounced(t *testing.T) {
	t.Parallel()
	p := open(t, Options{})
	other := p.Self()
	other.ID = uuid.New()
	if _, err := p.Announce(other); err == nil || !strings.Contains(err.Error(), "id") {
		t.Errorf("another id gives %v", err)
	}
	large := p.Self()
	large.Endpoint.Tags = map[string]string{"a": strings.Repeat("x", 190), "b": strings.Repeat("x", 190), "c": strings.Repeat("x", 190)}
	if _, err := p.Announce(large); err == nil || !strings.Contains(err.Error(), "512") {
		t.Errorf("metadata that does not fit gives %v", err)
	}
	if p.Self().Endpoint.Tags != nil {
		t.Error("a refused announcement was published")
	}
}

func TestAMemberThatLeavesHasLeft(t *testing.T) {
	t.Parallel()
	a := open(t, Options{})
	b := open(t, Options{Seeds: seedOf(a)})
	sees(t, a, b.Self().ID, is(fleet.Alive))
	sees(t, b, a.Self().ID, is(fleet.Alive))
	if err := b.Leave(t.Context()); err != nil {
		t.Error(err)
	}
	if m, _ := find(a, b.Self().ID); m.Liveness != fleet.Left {
		t.Errorf("once Leave returned it is %s, want left", m.Liveness)
	}
	if err := errors.Join(b.Close(), b.Leave(t.Context())); err != nil {
		t.Errorf("ending it again: %v", err)
	}
	if _, err := b.Announce(change(b.Self())); !errors.Is(err, ErrClosed) {
		t.Error("a pool that was left can still announce")
	}
}

func change(m fleet.Member) fleet.Member {
	m.Endpoint.Weight++
	return m
}

func TestAMemberThatGoesWithoutAWordIsDead(t *testing.T) {
	t.Parallel()
	a := open(t, Options{})
	b := open(t, Options{Seeds: seedOf(a)})
	sees(t, a, b.Self().ID, is(fleet.Alive))
	if err := errors.Join(b.Close(), b.Close()); err != nil {
		t.Error(err)
	}
	sees(t, a, b.Self().ID, is(fleet.Dead))
}

func TestSeedsThatAreAwayAreJoinedWhenTheyCome(t *testing.T) {
	t.Parallel()
	first := open(t, Options{})
	addr := first.Self().Gossip
	_ = first.Close()
	log := newBook(slog.LevelDebug)
	p := open(t, Options{Seeds: []string{addr.String()}, Logger: log.logger()})
	log.wait(t, "level=WARN", addr.String(), "connection refused")
	late := open(t, Options{Bind: addr})
	sees(t, p, late.Self().ID, is(fleet.Alive))
	log.wait(t, "level=INFO", "joined the pool", addr.String())
	if warnings := log.grep("level=WARN", "still trying"); len(warnings) != 1 {
		t.Errorf("the absent seed was warned of %d times, want once:\n%s", len(warnings), strings.Join(warnings, ""))
	}
}

func TestAHostNameIsASeed(t *testing.T) {
	t.Parallel()
	a := open(t, Options{})
	_, port, _ := net.SplitHostPort(a.Self().Gossip.String())
	b := open(t, Options{Seeds: []string{net.JoinHostPort("localhost", port)}})
	sees(t, b, a.Self().ID, is(fleet.Alive))
}

func TestAnAddressThatCannotBeHadIsNamed(t *testing.T) {
	t.Parallel()
	addr := open(t, Options{}).Self().Gossip
	_, err := Start(Options{Member: upstreamMember(), Bind: addr})
	if err == nil || !strings.Contains(err.Error(), addr.String()) || !strings.Contains(err.Error(), "in use") {
		t.Errorf("an occupied address gives %v", err)
	}
}

func TestASeedThatHangsDoesNotHoldUpTheEnd(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	p := open(t, Options{Seeds: []string{ln.Addr().String()}})
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	start := time.Now()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_ = p.Leave(ctx)
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("it took %s, want milliseconds: the time-out of the seed is 3 s", took)
	}
}

func TestStartRefusesBadOptions(t *testing.T) {
	t.Parallel()
	addr := netip.MustParseAddrPort
	for _, c := range []struct {
		name   string
		change func(*Options)
		want   []string
	}{
		{"no address", func(o *Options) { o.Bind = netip.AddrPort{} }, []string{"option Bind"}},
		{"every interface", func(o *Options) { o.Bind = addr("0.0.0.0:0") }, []string{"0.0.0.0", "option Advertise", "option Bind"}},
		{"every interface, IPv6", func(o *Options) { o.Bind = addr("[::]:7946") }, []string{"[::]:7946", "option Advertise"}},
		{"advertising every interface", func(o *Options) { o.Advertise = addr("0.0.0.0:7946") }, []string{"option Advertise 0.0.0.0:7946"}},
		{"a multicast address", func(o *Options) { o.Advertise = addr("224.0.0.1:1") }, []string{"option Advertise", "multicast"}},
		{"no id", func(o *Options) { o.Member.ID = uuid.Nil }, []string{"no id"}},
		{"metadata that is not valid", func(o *Options) { o.Member.Endpoint.Weight = 0 }, []string{"weight"}},
		{"a long fleet name", func(o *Options) { o.Fleet = strings.Repeat("x", 256) }, []string{"fleet", "255"}},
		{"a short key", func(o *Options) { o.Keys = [][]byte{make([]byte, 16), make([]byte, 5)} }, []string{"key 2", "5 bytes", "16, 24 or 32"}},
		{"a bad seed", func(o *Options) { o.Seeds = []string{"127.0.0.1:0"} }, []string{`"127.0.0.1:0"`, "port"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			opts := Options{Member: upstreamMember(), Bind: loopback}
			c.change(&opts)
			p, err := Start(opts)
			if err == nil {
				_ = p.Close()
				t.Fatal("it started")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("the error %q does not say %q", err, w)
				}
			}
		})
	}
}
