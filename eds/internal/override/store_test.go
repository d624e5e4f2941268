package override

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"testing"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// open opens the store in a file, as a new process would.
func open(t *testing.T, path string) (*Store, *bbolt.DB) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	s, err := NewStore(db, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s, db
}

func newStore(t *testing.T) *Store {
	s, _ := open(t, filepath.Join(t.TempDir(), "db"))
	return s
}

// plain is what is in force, without what the store filled in.
func plain(s *Store) ([]Override, uint64) {
	list, revision := s.InForce()
	list = slices.Clone(list)
	for i := range list {
		list[i].ID, list[i].Stamp = "", Stamp{}
	}
	return list, revision
}

func wantList(t *testing.T, s *Store, revision uint64, want ...Override) {
	t.Helper()
	got, rev := plain(s)
	if rev != revision || len(got) != len(want) || len(want) > 0 && !reflect.DeepEqual(got, want) {
		t.Fatalf("revision %d has %+v\nwant %d with %+v", rev, got, revision, want)
	}
}

func signalled(s *Store) bool {
	select {
	case <-s.Changed():
		return true
	default:
		return false
	}
}

func TestCreateReplaceDelete(t *testing.T) {
	s := newStore(t)
	a, b := list("a", Merge, "10.0.0.1:80"), list("b", Pin)
	must := func(want uint64) func(uint64, error) {
		return func(got uint64, err error) {
			t.Helper()
			if err != nil || got != want {
				t.Fatalf("revision %d, %v, want %d", got, err, want)
			}
		}
	}
	wantList(t, s, 0)
	must(1)(s.Create(b))
	must(2)(s.Create(a))
	wantList(t, s, 2, a, b)

	a2 := list("a", Pin, "10.0.0.2:80", "10.0.0.3:80")
	must(3)(s.Replace(a2))
	wantList(t, s, 3, a2, b)
	must(4)(s.Delete("b"))
	wantList(t, s, 4, a2)
	must(5)(s.Replace(b))
	must(6)(s.Delete("a"))
	must(7)(s.Create(a))
	wantList(t, s, 7, a, b)
}

func TestRefusedRequestChangesNothing(t *testing.T) {
	s := newStore(t)
	a := list("a", Merge, "10.0.0.1:80")
	if _, err := s.Create(a); err != nil {
		t.Fatal(err)
	}
	signalled(s)
	bad := list("a", Pin, "10.0.0.1:80", "10.0.0.1:80")
	for name, call := range map[string]func() (uint64, error){
		"exists":              func() (uint64, error) { return s.Create(list("a", Pin)) },
		"not found":           func() (uint64, error) { return s.Delete("b") },
		"bad list created":    func() (uint64, error) { bad.Service = "b"; return s.Create(bad) },
		"bad list to replace": func() (uint64, error) { bad.Service = "a"; return s.Replace(bad) },
	} {
		revision, err := call()
		if err == nil || revision != 1 {
			t.Errorf("%s: revision %d, %v", name, revision, err)
		}
		if want := map[string]error{"exists": ErrExists, "not found": ErrNotFound}[name]; want != nil && !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
		if signalled(s) {
			t.Errorf("%s: a change was signalled", name)
		}
		wantList(t, s, 1, a)
	}
}

func TestOverridesSurviveReopening(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s, db := open(t, path)
	full := list("a", Merge, "10.0.0.1:80", "[fd00::1]:80")
	full.Hosts[0] = Host{Probe: true, Endpoint: fleet.Endpoint{
		Addr: full.Hosts[0].Addr, Weight: 65535, Canary: true, Health: fleet.Healthy,
		Locality: fleet.Locality{Region: "r", Zone: "z"}, Tags: map[string]string{"version": "v2"},
	}}
	nobody := list("b", Pin)
	for _, o := range []Override{full, nobody, list("c", Pin)} {
		if _, err := s.Replace(o); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Delete("c"); err != nil {
		t.Fatal(err)
	}
	before, _ := plain(s)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	s, _ = open(t, path)
	after, revision := plain(s)
	if revision != 0 || len(after) != 2 || !reflect.DeepEqual(after[0], full) || after[1].Mode != Pin || len(after[1].Hosts) != 0 {
		t.Errorf("reopened: revision %d with %+v\nbefore: %+v", revision, after, before)
	}
	if _, err := s.Create(nobody); !errors.Is(err, ErrExists) {
		t.Errorf("create after reopening: %v, want %v", err, ErrExists)
	}
}

// A list that was written before hosts could be probed reads as it did then.
func TestListsFromBeforeProbesAreRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	_, db := open(t, path)
	const old = `{"Service":"a","Mode":"merge","Hosts":[{"Addr":"10.0.0.1:80","Weight":5,"Locality":{"Region":"","Zone":"z"},` +
		`"Canary":true,"Tags":null,"Health":"healthy"}],"Since":"2026-01-02T03:04:05.006Z"}`
	if err := db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Put([]byte("a"), []byte(old)) }); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	want := list("a", Merge, "10.0.0.1:80")
	want.Hosts[0].Weight, want.Hosts[0].Canary, want.Hosts[0].Locality.Zone = 5, true, "z"
	s, _ := open(t, path)
	wantList(t, s, 0, want)
	if v, err := json.Marshal(want); err != nil || string(v) != old {
		t.Errorf("without a probe it is written as %s, %v, want %s", v, err, old)
	}
}

// What a failed write leaves is what is on disk.
func TestFailedWriteIsNotInMemory(t *testing.T) {
	s, db := open(t, filepath.Join(t.TempDir(), "db"))
	a := list("a", Pin, "10.0.0.1:80")
	if _, err := s.Create(a); err != nil {
		t.Fatal(err)
	}
	signalled(s)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func() (uint64, error){
		"create":  func() (uint64, error) { return s.Create(list("b", Pin)) },
		"replace": func() (uint64, error) { return s.Replace(list("a", Pin)) },
		"delete":  func() (uint64, error) { return s.Delete("a") },
	} {
		if _, err := call(); !errors.Is(err, berrors.ErrDatabaseNotOpen) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if signalled(s) {
		t.Error("a change was signalled")
	}
	wantList(t, s, 1, a)
}

func TestHostsAreSortedAndTheCallersSliceIsLeftAlone(t *testing.T) {
	s := newStore(t)
	o := list("a", Pin, "10.0.0.2:80", "10.0.0.1:81", "10.0.0.1:80")
	if _, err := s.Create(o); err != nil {
		t.Fatal(err)
	}
	if o.Hosts[0].Addr.String() != "10.0.0.2:80" {
		t.Error("the caller's slice was sorted")
	}
	wantList(t, s, 1, list("a", Pin, "10.0.0.1:80", "10.0.0.1:81", "10.0.0.2:80"))
}

func TestChangedHoldsOneSignalForManyChanges(t *testing.T) {
	s := newStore(t)
	if signalled(s) {
		t.Fatal("signalled before any change")
	}
	for range 3 {
		if _, err := s.Replace(list("a", Pin)); err != nil {
			t.Fatal(err)
		}
	}
	if !signalled(s) || signalled(s) {
		t.Error("want exactly one signal")
	}
	if _, err := s.Delete("a"); err != nil {
		t.Fatal(err)
	}
	if !signalled(s) {
		t.Error("a deletion was not signalled")
	}
}

// Of many that create the same list at once one wins, and each write has a
// revision of its own.
func TestConcurrentWrites(t *testing.T) {
	s := newStore(t)
	var mu sync.Mutex
	var revisions []uint64
	won := 0
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			_, err := s.Create(list("contested", Pin))
			revision, err2 := s.Replace(list(fmt.Sprintf("own-%d", i), Pin))
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else if !errors.Is(err, ErrExists) {
				t.Error(err)
			}
			if err2 != nil {
				t.Error(err2)
			}
			revisions = append(revisions, revision)
		})
	}
	wg.Wait()
	slices.Sort(revisions)
	if all, revision := s.InForce(); won != 1 || revision != 9 || len(all) != 9 || len(slices.Compact(revisions)) != 8 {
		t.Errorf("%d won, revision %d, %d lists, revisions %v", won, revision, len(all), revisions)
	}
}
