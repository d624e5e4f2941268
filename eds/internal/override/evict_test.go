package override

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/uuid"
	"go.etcd.io/bbolt"
)

// few makes a store with room for so many in force, and for as many that have ended.
func few(t *testing.T, most int) (*Store, *bbolt.DB) {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(t.TempDir(), "db"), 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	s, err := NewStore(db, Options{MaxInForce: most})
	if err != nil {
		t.Fatal(err)
	}
	return s, db
}

func pinned(i int) Key { return Key{Service: fmt.Sprintf("s%02d", i)} }

func pin(t *testing.T, s *Store, k Key) Override {
	t.Helper()
	o, _, err := s.Edit(Edit{Key: k, Actor: "ann", Change: func(o Override, _ bool) (Override, error) { o.Mode = Pin; return o, nil }})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestEndedOverridesTakeNoRoomFromThoseInForce(t *testing.T) {
	s, db := few(t, 20)
	for i := range 100 {
		pin(t, s, pinned(i))
		if _, _, err := s.Revoke(pinned(i), "ann", "", nil); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		pin(t, s, Key{Service: fmt.Sprint("new", i)})
	}
	if n := len(held(s)); n > 40 {
		t.Errorf("%d are kept", n)
	}
	_, kept := held(s)[pinned(99)]
	if evicted := s.evicted; !kept || evicted.IsZero() {
		t.Errorf("the newest is kept %v, evicted is %v", kept, evicted)
	}
	again, err := NewStore(db, Options{MaxInForce: 20})
	if err != nil || again.evicted != s.evicted {
		t.Errorf("after a restart evicted is %v, want %v: %v", again.evicted, s.evicted, err)
	}
}

// A server was away while an override was taken back and forgotten.
func TestForgottenOverridesDoNotReturn(t *testing.T) {
	s, _ := few(t, 5)
	away, _ := few(t, 5)
	old := pin(t, away, pinned(0))
	if _, err := s.Merge([]Override{old}); err != nil {
		t.Fatal(err)
	}
	for i := range 30 {
		if i > 0 {
			pin(t, s, pinned(i))
		}
		if _, _, err := s.Revoke(pinned(i), "ann", "", nil); err != nil {
			t.Fatal(err)
		}
	}
	news, err := s.Merge([]Override{old})
	if err != nil || len(news) != 1 || !news[0].Revoked || news[0].Key != old.Key {
		t.Fatalf("it is taken as %+v, %v", news, err)
	}
	if _, ok := s.Get(old.ID); ok {
		t.Error("it is in force again")
	}
	if _, err := away.Merge(news); err != nil {
		t.Fatal(err)
	}
	if _, ok := away.Get(old.ID); ok {
		t.Error("it is in force where it was")
	}
	found := false
	entries, err := s.Audit(epoch.AddDate(-1, 0, 0), 1000, "")
	for _, e := range entries {
		found = found || e.Action == Overtaken && e.Override.Stamp == old.Stamp
	}
	if err != nil || !found {
		t.Errorf("the audit does not say so: %v", err)
	}
}

func TestServersThatHoldTheSameForgetTheSame(t *testing.T) {
	var all []Override
	for i := range 60 {
		all = append(all, Override{Key: Key{Service: "s", Host: fmt.Sprintf("10.0.0.%d:80", i)}, Revoked: true, Actor: "ann", Stamp: Stamp{Wall: epoch.UnixMilli() + int64(i), Server: uuid.UUID{1}}})
	}
	var want Digest
	for round := range 10 {
		s, _ := few(t, 10)
		clock := &fake{epoch}
		s.now = clock.now
		rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
		for part := range slices.Chunk(all, 1+rand.IntN(20)) {
			if _, err := s.Merge(part); err != nil {
				t.Fatal(err)
			}
		}
		if got := s.Digest(); round > 0 && got != want {
			t.Errorf("round %d holds something else", round)
		} else {
			want = got
		}
	}
}
