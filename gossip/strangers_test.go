package gossip

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/hashicorp/memberlist"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/internal/panics"
)

func TestStrangersAreNotLetInAndTheLogSaysWhy(t *testing.T) {
	t.Parallel()
	one, two := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 16)
	for _, c := range []struct {
		name        string
		pool, other Options
		joiner, ear string // what the two sides log
	}{
		{"another key", Options{Keys: [][]byte{one}}, Options{Keys: [][]byte{two}}, "it has another gossip key", "could decrypt"},
		{"no key", Options{Keys: [][]byte{one}}, Options{}, "this process has none: pass --gossip-key-file", "not encrypted"},
		{"a key too many", Options{}, Options{Keys: [][]byte{one}}, "it has no gossip key and this process has one", "encryption is not configured"},
		{"another fleet", Options{}, Options{Fleet: "blue"}, "it is of another fleet: this process has --fleet blue", `unacceptable label \"blue\"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			inside, outside := newBook(slog.LevelDebug), newBook(slog.LevelDebug)
			c.pool.Logger, c.other.Logger = inside.logger(), outside.logger()
			p := open(t, c.pool)
			c.other.Seeds = seedOf(p)
			q := open(t, c.other)
			if c.name == "another fleet" {
				c.joiner = "most likely because " + c.joiner
			}
			outside.wait(t, "level=WARN", c.joiner)
			inside.wait(t, "level=ERROR", c.ear)
			outside.wait(t, "level=DEBUG", c.joiner) // it goes on trying, quietly
			for _, one := range []*Pool{p, q} {
				if ms := one.Members(); len(ms) != 1 {
					t.Errorf("a stranger was let in: %+v", ms)
				}
			}
			if n := len(outside.grep("level=WARN", "still trying")); n != 1 {
				t.Errorf("warned %d times of the same, want once", n)
			}
		})
	}
}

func TestMembersWithTheSameKeysJoin(t *testing.T) {
	t.Parallel()
	one, two := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 24)
	a := open(t, Options{Keys: [][]byte{one, two}})
	b := open(t, Options{Keys: [][]byte{two, one}, Seeds: seedOf(a)})
	sees(t, a, b.Self().ID, is(fleet.Alive))
	sees(t, b, a.Self().ID, is(fleet.Alive))
}

// raw joins p's pool as a program that is not rollcall.
func raw(t *testing.T, p *Pool, name string, meta []byte) *memberlist.Memberlist {
	t.Helper()
	conf := memberlist.DefaultLocalConfig()
	conf.Name, conf.Label, conf.BindAddr, conf.BindPort = name, DefaultFleet, "127.0.0.1", 0
	conf.Delegate, conf.Logger = newDelegate(meta, func([]byte) {}, panics.Catcher{}), log.New(io.Discard, "", 0)
	list, err := memberlist.Create(conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = list.Shutdown() })
	if _, err := list.Join(seedOf(p)); err != nil {
		t.Fatal(err)
	}
	return list
}

func TestMembersThatCannotBeUnderstoodAreQuarantined(t *testing.T) {
	t.Parallel()
	good, err := fleet.Encode(upstreamMember())
	if err != nil {
		t.Fatal(err)
	}
	id := uuid.NewString()
	for _, c := range []struct {
		name, node string
		meta       []byte
		want       string
	}{
		{"garbage", id, []byte("\x00\xffgarbage"), "metadata is not UTF-8"},
		{"nothing", id, nil, "not a JSON object"},
		{"a later format version", id, []byte(`{"v":99}`), "format version 99"},
		{"a bad address", id, bytes.Replace(good, []byte("127.0.0.1:8081"), []byte("0.0.0.0:8081"), 1), "every interface"},
		{"a name that is no uuid", "web-1", good, `name "web-1" is not a uuid`},
		{"a uuid in another spelling", strings.ToUpper(id), good, "is not a uuid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			log := newBook(slog.LevelDebug)
			p := open(t, Options{Logger: log.logger()})
			other := open(t, Options{Seeds: seedOf(p)})
			stranger := raw(t, p, c.node, c.meta)
			want, _ := parseName(c.node)
			m := sees(t, p, want, is(fleet.Alive))
			if !strings.Contains(m.Quarantine, c.want) {
				t.Errorf("the reason is %q, want one that says %q", m.Quarantine, c.want)
			}
			if port := stranger.LocalNode().Port; m.Gossip.Port() != port {
				t.Errorf("it gossips at %s, want port %d", m.Gossip, port)
			}
			if m.Role != "" || m.Service != "" || m.Endpoint.Addr.IsValid() {
				t.Errorf("what it says is believed: %+v", m)
			}
			log.wait(t, "level=WARN", "quarantined", want.String())
			if n := len(log.grep("level=WARN", "quarantined", want.String())); n != 1 {
				t.Errorf("it was logged %d times, want once", n)
			}
			sees(t, p, other.Self().ID, is(fleet.Alive))
		})
	}
}

func TestAQuarantinedMemberThatMendsItsWaysIsBelieved(t *testing.T) {
	t.Parallel()
	p := open(t, Options{})
	m := upstreamMember()
	good, err := fleet.Encode(m)
	if err != nil {
		t.Fatal(err)
	}
	d := newDelegate([]byte("garbage"), func([]byte) {}, panics.Catcher{})
	conf := memberlist.DefaultLocalConfig()
	conf.Name, conf.Label, conf.BindAddr, conf.BindPort = m.ID.String(), DefaultFleet, "127.0.0.1", 0
	conf.Delegate, conf.Logger = d, log.New(io.Discard, "", 0)
	list, err := memberlist.Create(conf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = list.Shutdown() })
	if _, err := list.Join(seedOf(p)); err != nil {
		t.Fatal(err)
	}
	sees(t, p, m.ID, func(m fleet.Member) bool { return m.Quarantine != "" })
	d.setMeta(good)
	if err := list.UpdateNode(0); err != nil {
		t.Fatal(err)
	}
	sees(t, p, m.ID, func(m fleet.Member) bool { return m.Quarantine == "" && m.Service == "myservice" })
}

func TestWhoClaimsAnIDThatIsTakenIsIgnoredAndLogged(t *testing.T) {
	t.Parallel()
	log := newBook(slog.LevelDebug)
	p := open(t, Options{Logger: log.logger()})
	good, err := fleet.Encode(change(p.Self()))
	if err != nil {
		t.Fatal(err)
	}
	thief := raw(t, p, p.Self().ID.String(), good)
	log.wait(t, "level=WARN", "claims this one's id", fmt.Sprintf("claimed_from=127.0.0.1:%d", thief.LocalNode().Port))
	if got := p.Self().Endpoint.Weight; got != 1 {
		t.Errorf("the claim changed this member's weight to %d", got)
	}
}
