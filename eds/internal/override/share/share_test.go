package share

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"go.etcd.io/bbolt"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// world is some EDS servers in virtual time, with a network between them.
type world struct {
	t       *testing.T
	servers []*server

	mu   sync.Mutex
	cut  bool // nothing gets through
	deaf uuid.UUID
	loss int // every so many messages one is lost; 0 for none
	sent int // messages
	size int // bytes
}

type server struct {
	*override.Store
	sharer *Sharer
	member fleet.Member
}

// databases opens n of them, which is not to be done in virtual time.
func databases(t *testing.T, n int) (dbs []*bbolt.DB) {
	t.Helper()
	for i := range n {
		db, err := bbolt.Open(filepath.Join(t.TempDir(), fmt.Sprint(i)), 0o600, &bbolt.Options{NoSync: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		dbs = append(dbs, db)
	}
	return dbs
}

// play runs f with n servers that do not know each other yet.
func play(t *testing.T, n int, f func(*world)) {
	t.Helper()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	dbs := databases(t, n)
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel()
		for _, db := range dbs {
			s := w.add(db)
			running.Go(func() { s.sharer.Run(ctx) })
		}
		f(w)
	})
}

func (w *world) add(db *bbolt.DB) *server {
	store, err := override.NewStore(db, override.Options{})
	if err != nil {
		w.t.Fatal(err)
	}
	s := &server{Store: store, member: fleet.Member{ID: uuid.New(), Role: fleet.RoleEDS, Liveness: fleet.Alive}}
	s.sharer = New(Options{Self: s.member.ID, Store: store, Logger: slog.New(slog.DiscardHandler), Send: func(to *fleet.Member, b []byte) error {
		return w.carry(s.member, *to, b)
	}})
	w.servers = append(w.servers, s)
	return s
}

func (w *world) carry(from, to fleet.Member, b []byte) error {
	w.mu.Lock()
	w.sent++
	w.size += len(b)
	lost := w.cut || to.ID == w.deaf || w.loss > 0 && w.sent%w.loss == 0
	w.mu.Unlock()
	if lost {
		time.Sleep(3 * time.Second) // a TCP timeout
		return errors.New("timed out")
	}
	time.Sleep(time.Millisecond)
	for _, s := range w.servers {
		if s.member.ID == to.ID {
			s.sharer.Receive(&from, b)
		}
	}
	return nil
}

// traffic is how many messages were sent, and their bytes.
func (w *world) traffic() (sent, size int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sent, w.size
}

// meet connects all servers with each other, or none.
func (w *world) meet(see bool) {
	w.mu.Lock()
	w.cut = !see
	w.mu.Unlock()
	for _, s := range w.servers {
		var members []*fleet.Member
		for _, other := range w.servers {
			m := other.member
			if !see && other != s {
				m.Liveness = fleet.Dead
			}
			members = append(members, new(m))
		}
		s.sharer.Members(members)
	}
}

// decide stores n overrides under a unique name.
func (s *server) decide(t *testing.T, name string, n int) {
	t.Helper()
	for i := range n {
		host := fmt.Sprintf("10.0.%d.%d:80", i>>8, i&255)
		_, _, err := s.Edit(override.Edit{Key: override.Key{Service: name, Host: host}, Reason: strings.Repeat("x", 100), Change: func(o override.Override, _ bool) (override.Override, error) {
			o.State = override.Drain
			return o, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// agree waits until all servers hold the same n overrides in force, and returns how
// long that took.
func (w *world) agree(n int, limit time.Duration) time.Duration {
	w.t.Helper()
	start := time.Now()
	for {
		synctest.Wait()
		same := true
		for _, s := range w.servers {
			same = same && s.Digest() == w.servers[0].Digest()
		}
		list, _ := w.servers[0].InForce()
		if same && len(list) == n {
			return time.Since(start)
		}
		if time.Since(start) > limit {
			w.t.Fatalf("after %s they hold the same: %t, the first %d overrides, want %d", limit, same, len(list), n)
		}
		time.Sleep(limit / 1000)
	}
}

func TestOverrideReachesEveryServerAtOnce(t *testing.T) {
	play(t, 3, func(w *world) {
		w.meet(true)
		time.Sleep(100 * time.Millisecond)
		w.servers[1].decide(t, "s", 1)
		w.agree(1, 5*time.Millisecond)
		if _, _, err := w.servers[2].Revoke(override.Key{Service: "s", Host: "10.0.0.0:80"}, "", "", nil); err != nil {
			t.Fatal(err)
		}
		w.agree(0, 5*time.Millisecond)
		before, bytes := w.traffic()
		time.Sleep(10 * time.Second)
		if sent, size := w.traffic(); sent-before > 33 || size-bytes > 33*3000 { // three pairs, a digest each second
			t.Errorf("in 10 s without an override %d messages of %d bytes were sent", sent-before, size-bytes)
		}
	})
}

func TestPartitionedServersAgreeAfterReconnecting(t *testing.T) {
	play(t, 2, func(w *world) {
		w.meet(false)
		a, b := w.servers[0], w.servers[1]
		a.decide(t, "both", 2)
		time.Sleep(time.Second)
		b.decide(t, "both", 2)
		a.decide(t, "a", 300)
		b.decide(t, "b", 300)
		time.Sleep(time.Minute)
		w.meet(true)
		if took := w.agree(602, 2*time.Second); took > 100*time.Millisecond {
			t.Errorf("it took %s", took)
		}
		time.Sleep(time.Second)
		for _, s := range w.servers {
			entries, err := s.Audit(time.Time{}, 1000, "")
			if err != nil || len(entries) != 604 { // those that were overtaken too, once
				t.Errorf("%d entries, %v", len(entries), err)
			}
		}
	})
}

func TestServerThatSeesTheOtherFirstWaitsForIt(t *testing.T) {
	play(t, 2, func(w *world) {
		a, b := w.servers[0], w.servers[1]
		a.decide(t, "a", 1)
		members := []*fleet.Member{new(a.member), new(b.member)}
		for _, first := range w.servers {
			w.meet(false)
			time.Sleep(5 * time.Second)
			w.mu.Lock()
			w.cut = false
			w.mu.Unlock()
			first.sharer.Members(members)
			time.Sleep(700 * time.Millisecond)
			first.decide(t, first.member.ID.String(), 1)
			a.sharer.Members(members)
			b.sharer.Members(members)
			list, _ := first.InForce()
			w.agree(len(list), 2*time.Second)
		}
	})
}

func TestNewServerLearnsAllOverridesThoughMessagesAreLost(t *testing.T) {
	const many = 2000
	play(t, 2, func(w *world) {
		s := w.servers[0]
		var list []override.Override
		for i := range many {
			list = append(list, override.Override{
				Key: override.Key{Service: fmt.Sprint("s", i%10), Host: fmt.Sprintf("10.0.%d.%d:80", i>>8, i&255)}, State: override.Exclude,
				Reason: strings.Repeat("x", 100), Since: time.Now().UTC(), Stamp: override.Stamp{Wall: time.Now().UnixMilli(), Server: s.Server()},
			})
		}
		if _, err := s.Merge(list); err != nil {
			t.Fatal(err)
		}
		w.mu.Lock()
		w.loss = 10
		w.mu.Unlock()
		w.meet(true)
		synctest.Wait()
		if !w.servers[1].sharer.Behind() {
			t.Error("it takes what it has for all there is")
		}
		took := w.agree(many, time.Minute)
		time.Sleep(10 * time.Second) // messages are lost
		if w.servers[0].sharer.Behind() || w.servers[1].sharer.Behind() {
			t.Error("they do not know that they agree")
		}
		if sent, size := w.traffic(); size > 4<<20 {
			t.Errorf("it took %s and %d messages of %d bytes", took, sent, size)
		}
	})
}

func TestUnresponsiveServerDelaysNoOther(t *testing.T) {
	play(t, 3, func(w *world) {
		w.meet(true)
		time.Sleep(100 * time.Millisecond)
		w.mu.Lock()
		w.deaf = w.servers[2].member.ID
		w.mu.Unlock()
		for i := range 5 {
			w.servers[0].decide(t, fmt.Sprint(i), 1)
			time.Sleep(5 * time.Millisecond)
			if list, _ := w.servers[1].InForce(); len(list) != i+1 {
				t.Errorf("after 5 ms the other has %d, want %d", len(list), i+1)
			}
		}
	})
}

func FuzzMessages(f *testing.F) {
	f.Add(encodeDigest(kindDigest, override.Digest{1, 2}))
	f.Add(stampsOf(buckets{1}, []override.Override{{ID: "0123456789abcdef", Stamp: override.Stamp{Wall: 1, Count: 2, Server: uuid.UUID{3}}}}).encode(kindStamps))
	f.Add([]byte{byte(kindOverrides), '[', ']'})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) == 0 {
			return
		}
		if d, err := decodeDigest(b[1:]); err == nil && string(encodeDigest(kindDigest, d)[1:]) != string(b[1:]) {
			t.Error("a digest changes on its way")
		}
		if s, err := decodeStamps(b[1:]); err == nil {
			if back, err := decodeStamps(s.encode(kindStamps)[1:]); err != nil || len(back.held) != len(s.held) || back.in != s.in {
				t.Errorf("stamps change on their way: %v", err)
			}
		}
	})
}
