package gossip

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// TestMain waits longer than goleak would: memberlist lets a probe that is under
// way at its shutdown run to the end.
func TestMain(m *testing.M) {
	code := m.Run()
	var err error
	for range 20 {
		if err = goleak.Find(); err == nil {
			os.Exit(code)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

var loopback = netip.MustParseAddrPort("127.0.0.1:0")

func upstreamMember() fleet.Member {
	return fleet.Member{
		ID: uuid.New(), Role: fleet.RoleUpstream, Version: fleet.FormatVersion,
		Started: time.Now().UTC().Truncate(time.Millisecond), Service: "myservice",
		Endpoint: fleet.Endpoint{Addr: netip.MustParseAddrPort("127.0.0.1:8081"), Weight: 1, Health: fleet.Healthy},
		Probe:    fleet.Probe{Kind: fleet.ProbeHTTP, Path: fleet.DefaultHealthPath},
	}
}

// book collects log lines.
type book struct {
	level slog.Level // what is below is not collected
	mu    sync.Mutex
	lines []string
	news  chan struct{}
}

func newBook(level slog.Level) *book { return &book{level: level, news: make(chan struct{}, 1)} }

func (b *book) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: b.level}))
}

func (b *book) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines = append(b.lines, string(p))
	select {
	case b.news <- struct{}{}:
	default:
	}
	return len(p), nil
}

// grep returns the lines that hold all of words.
func (b *book) grep(words ...string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var found []string
next:
	for _, l := range b.lines {
		for _, w := range words {
			if !strings.Contains(l, w) {
				continue next
			}
		}
		found = append(found, l)
	}
	return found
}

// wait returns once a line holds all of words.
func (b *book) wait(t *testing.T, words ...string) {
	t.Helper()
	await(t, b.news, func() bool { return len(b.grep(words...)) > 0 }, func() string {
		return fmt.Sprintf("no log line with %q in\n%s", words, strings.Join(b.grep(), ""))
	})
}

// await looks again at each signal until ok.
func await(t *testing.T, signal <-chan struct{}, ok func() bool, complaint func() string) {
	t.Helper()
	late := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-signal:
		case <-late:
			t.Fatal(complaint())
		}
	}
}

// open starts a pool that the test closes. Options that are not set are those of
// a member on loopback.
func open(t *testing.T, opts Options) *Pool {
	t.Helper()
	if opts.Member.ID == uuid.Nil {
		opts.Member = upstreamMember()
	}
	if !opts.Bind.IsValid() {
		opts.Bind = loopback
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	p, err := Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func seedOf(ps ...*Pool) []string {
	var seeds []string
	for _, p := range ps {
		seeds = append(seeds, p.Self().Gossip.String())
	}
	return seeds
}

func find(p *Pool, id uuid.UUID) (fleet.Member, bool) {
	p.members.mu.Lock()
	defer p.members.mu.Unlock()
	for _, r := range p.members.byName { // a name is no id where the member is quarantined
		if r.ID == id && !r.hidden {
			return *r.Member, true
		}
	}
	return fleet.Member{}, false
}

// sees waits until p's record of id is as wanted, and returns it.
func sees(t *testing.T, p *Pool, id uuid.UUID, want func(fleet.Member) bool) fleet.Member {
	t.Helper()
	var m fleet.Member
	await(t, p.Changed(), func() bool {
		var ok bool
		m, ok = find(p, id)
		return ok && want(m)
	}, func() string { return fmt.Sprintf("%s is never seen as wanted: %+v", id, p.Members()) })
	return m
}

func is(l fleet.Liveness) func(fleet.Member) bool {
	return func(m fleet.Member) bool { return m.Liveness == l }
}

func keysOf(keys ...ed25519.PublicKey) []ed25519.PublicKey { return keys }

// eventually waits for what signals nothing itself.
func eventually(t *testing.T, ok func() bool, complaint string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(30 * time.Second)
	for !ok() {
		select {
		case <-tick.C:
		case <-late:
			t.Fatal(complaint)
		}
	}
}

func noAdmission() admission {
	o := Options{}
	_ = o.Bounds.prepare()
	return o.admission(&counts{})
}

// newKey makes a key from a byte, so that tests are alike each time.
func newKey(b byte) (ed25519.PrivateKey, ed25519.PublicKey) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{b}, ed25519.SeedSize))
	return key, key.Public().(ed25519.PublicKey)
}
