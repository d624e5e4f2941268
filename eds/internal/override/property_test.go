package override

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
	"pgregory.net/rapid"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// fake is a clock that a test sets.
type fake struct{ at time.Time }

func (f *fake) now() time.Time { return f.at }

// files are databases that are used again and again: to make one takes a sync.
type files []*bbolt.DB

func newFiles(t *testing.T, n int) files {
	var dbs files
	for i := range n {
		db, err := bbolt.Open(filepath.Join(t.TempDir(), fmt.Sprint(i)), 0o600, &bbolt.Options{NoSync: true, NoFreelistSync: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		dbs = append(dbs, db)
	}
	return dbs
}

// store is a new one of server n.
func (f files) store(t *rapid.T, n byte, clock *fake) *Store {
	err := f[n].Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{bucket, metaBucket, auditBucket, stampsBucket} {
			if err := tx.DeleteBucket(name); err != nil && !errors.Is(err, berrors.ErrBucketNotFound) {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewStore(f[n], Options{Server: uuid.UUID{n + 1}, Now: clock.now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// held is everything that s holds, by key.
func held(s *Store) map[Key]Override {
	all := make(map[Key]Override)
	for _, o := range s.Held(func(byte) bool { return true }) {
		all[o.Key] = o
	}
	return all
}

var someKeys = []Key{{Service: "a"}, {Service: "a", Host: "10.0.0.1:80"}, {Service: "b", Host: "10.0.0.1:80"}}

// drawOverride draws one that some server may have made.
func drawOverride(t *rapid.T) Override {
	o := Override{
		Key:     rapid.SampledFrom(someKeys).Draw(t, "key"),
		Revoked: rapid.Bool().Draw(t, "revoked"),
		Stamp: Stamp{
			Wall: epoch.UnixMilli() + rapid.Int64Range(0, 3).Draw(t, "wall"), Count: rapid.Uint32Range(0, 1).Draw(t, "count"),
			Server: uuid.UUID{rapid.ByteRange(1, 2).Draw(t, "server")},
		},
		Since: epoch,
	}
	o.Reason = o.Stamp.String() + o.Name() // a stamp is one override
	switch {
	case o.Revoked:
	case o.Host == "":
		o.Mode = Pin
	default:
		o.State = Drain
	}
	if o.Stamp.Count == 1 && !o.Revoked {
		o.Until = epoch.Add(2 * time.Second) // before or after now
	}
	return o
}

// byStamp leaves one of those that would be the same override.
func byStamp(list []Override) []Override {
	one := make(map[string]Override)
	for _, o := range list {
		one[o.Stamp.String()+o.Name()] = o
	}
	return slices.Collect(maps.Values(one))
}

func TestReplicasAgreeInAnyOrderOfMessages(t *testing.T) {
	dbs := newFiles(t, 2)
	rapid.Check(t, func(rt *rapid.T) {
		clock := &fake{epoch.Add(time.Duration(rapid.IntRange(0, 4).Draw(rt, "seconds")) * time.Second)}
		all := byStamp(rapid.SliceOfN(rapid.Custom(drawOverride), 1, 8).Draw(rt, "overrides"))
		want := make(map[Key]Override)
		for _, o := range all {
			if was, ok := want[o.Key]; !ok || o.Stamp.Compare(was.Stamp) > 0 {
				want[o.Key] = o
			}
		}
		var first *Store
		for n := range byte(2) {
			s := dbs.store(rt, n, clock)
			rest := rapid.Permutation(slices.Concat(all, all[:len(all)/2])).Draw(rt, "order")
			for len(rest) > 0 {
				n := rapid.IntRange(1, len(rest)).Draw(rt, "together")
				if _, err := s.Merge(rest[:n]); err != nil {
					rt.Fatal(err)
				}
				rest = rest[n:]
			}
			got := held(s)
			for k, o := range want {
				o.ID = k.ID()
				if !reflect.DeepEqual(got[k], o) {
					rt.Fatalf("%s is %+v, want %+v", k.Name(), got[k], o)
				}
			}
			checkSums(rt, s, clock.at)
			if first != nil && (first.Digest() != s.Digest() || first.ServiceTag("a") != s.ServiceTag("a")) {
				rt.Fatal("what two servers hold is the same, their sums are not")
			}
			if news, err := s.Merge(all); err != nil || len(news) > 0 {
				rt.Fatalf("the second time it is news: %+v, %v", news, err)
			}
			first = s
		}
	})
}

// checkSums recomputes what a store keeps up to date.
func checkSums(t *rapid.T, s *Store, now time.Time) {
	var digest Digest
	etags := make(map[string]etag)
	var force []Override
	for _, r := range s.all {
		digest[BucketOf(r.Key)] ^= r.hash()
		if r.InForce(now) != r.inForce {
			t.Fatalf("%s is in force: %t", r.Name(), r.inForce)
		}
		if r.inForce {
			force = append(force, r.Override)
			etags[r.Service] = etags[r.Service].toggle(r)
		}
	}
	slices.SortFunc(force, func(a, b Override) int { return a.Compare(b.Key) })
	got, _ := s.InForce()
	if digest != s.Digest() || !maps.Equal(etags, s.etags) || len(force) != s.force || len(force)+len(got) > 0 && !reflect.DeepEqual(got, force) {
		t.Fatalf("in force are %+v\nwant %+v", got, force)
	}
}

// What is decided at one of three servers, and what they tell each other of it at
// any time and twice, comes to the same everywhere once all was told; every answer
// is as a plain map would give it.
func TestServersThatShareOverridesConverge(t *testing.T) {
	dbs := newFiles(t, 3)
	rapid.Check(t, func(rt *rapid.T) {
		clock := &fake{epoch}
		var stores []*Store
		for n := range byte(3) {
			stores = append(stores, dbs.store(rt, n, clock))
		}
		pick := func() *Store { return stores[rapid.IntRange(0, 2).Draw(rt, "server")] }
		rt.Repeat(map[string]func(*rapid.T){
			"wait": func(rt *rapid.T) {
				clock.at = clock.at.Add(time.Duration(rapid.IntRange(1, 3000).Draw(rt, "ms")) * time.Millisecond)
			},
			"decide": func(rt *rapid.T) {
				s, k := pick(), rapid.SampledFrom(someKeys).Draw(rt, "key")
				before := s.clock.last
				o, _, err := s.Edit(Edit{Key: k, Change: func(was Override, exists bool) (Override, error) {
					if known := held(s)[k]; exists != (!known.Stamp.IsZero() && known.InForce(clock.at)) {
						rt.Fatalf("%+v is there: %t", known, exists)
					}
					was.Mode, was.State, was.Since = Pin, "", time.Time{}
					if k.Host != "" {
						was.Mode, was.State = "", Exclude
					}
					if rapid.Bool().Draw(rt, "for a while") {
						was.Until = clock.at.Add(2 * time.Second)
					}
					return was, nil
				}})
				if err != nil || o.Stamp.Compare(before) <= 0 {
					rt.Fatalf("%+v after %s: %v", o, before, err)
				}
			},
			"revoke": func(rt *rapid.T) {
				s, k := pick(), rapid.SampledFrom(someKeys).Draw(rt, "key")
				known := held(s)[k]
				there := !known.Stamp.IsZero() && known.InForce(clock.at)
				if _, _, err := s.Revoke(k, "", "", nil); (err == nil) != there {
					rt.Fatalf("revoked %+v: %v", known, err)
				}
			},
			"tell": func(rt *rapid.T) {
				from, to := pick(), pick()
				if _, err := to.Merge(slices.Collect(maps.Values(held(from)))); err != nil {
					rt.Fatal(err)
				}
			},
			"": func(rt *rapid.T) {
				for _, s := range stores {
					if err := s.Expire(); err != nil {
						rt.Fatal(err)
					}
					checkSums(rt, s, clock.at)
				}
			},
		})
		for range 2 {
			for _, from := range stores {
				for _, to := range stores {
					if _, err := to.Merge(slices.Collect(maps.Values(held(from)))); err != nil {
						rt.Fatal(err)
					}
				}
			}
		}
		for _, s := range stores[1:] {
			if !reflect.DeepEqual(held(s), held(stores[0])) || s.Digest() != stores[0].Digest() {
				rt.Fatalf("one holds %+v\nthe other %+v", held(s), held(stores[0]))
			}
		}
	})
}

func TestStampsOnlyGoUpAndReadAsTheyAreWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := clock{server: uuid.UUID{1}}
		now := epoch
		last := Stamp{}
		for range 20 {
			now = now.Add(time.Duration(rapid.IntRange(-1000, 1000).Draw(t, "ms")) * time.Millisecond)
			if rapid.Bool().Draw(t, "hear") {
				c.observe(Stamp{Wall: now.UnixMilli() + rapid.Int64Range(-10, 10).Draw(t, "ahead"), Count: rapid.SampledFrom([]uint32{0, 5, 1<<32 - 1}).Draw(t, "count"), Server: uuid.UUID{2}})
				last = c.last
			}
			s := c.next(now)
			if s.Compare(last) <= 0 || s.String() <= last.String() {
				t.Fatalf("%s comes after %s", s, last)
			}
			if back, err := ParseStamp(s.String()); err != nil || back != s {
				t.Fatalf("%s reads as %s, %v", s, back, err)
			}
			last = s
		}
	})
}

func FuzzDecode(f *testing.F) {
	good, err := Encode([]Override{list("a", Merge, "10.0.0.1:80"), {Key: someKeys[1], State: Drain, Stamp: Stamp{Wall: 1, Server: uuid.UUID{1}}, Until: epoch}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`[{"Service":"a","Host":"10.0.0.1:80","Stamp":"000000000001-00000000-01000000000000000000000000000000","State":"drain","Since":"2026-01-02T03:04:05Z"}]`))
	f.Add([]byte(`[{"Service":"a","Stamp":"","Mode":"pin"}]`))
	f.Add([]byte(`[`))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := Decode(b)
		if err != nil {
			return
		}
		for _, o := range list {
			if err := o.Check(); err != nil {
				t.Errorf("it lets %+v through: %v", o, err)
			}
		}
		again, err := Encode(list)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := Decode(again); err != nil || len(list) > 0 && !reflect.DeepEqual(back, list) {
			t.Errorf("%+v comes back as %+v, %v", list, back, err)
		}
	})
}
