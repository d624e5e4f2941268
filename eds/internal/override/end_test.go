package override

import (
	"context"
	"encoding/json"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
)

// machine is a clock whose wall part can be set, as that of a computer can, by whole
// seconds; the monotonic part goes on.
type machine struct{ ahead atomic.Int64 } // seconds

func newMachine(ahead time.Duration) *machine {
	m := new(machine)
	m.set(ahead)
	return m
}

func (m *machine) set(ahead time.Duration) { m.ahead.Store(int64(ahead / time.Second)) }

// origin has a monotonic reading, which no time in a bubble has.
var origin, bubbles = time.Now(), time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func (m *machine) now() time.Time {
	t := origin.Add(time.Since(bubbles))
	// A Time with both readings keeps the seconds of the wall clock above bit 30 of its
	// first word, and no method changes them alone.
	wall := (*uint64)(unsafe.Pointer(&t))
	*wall += uint64(m.ahead.Load()) << 30
	return t
}

// drainFor decides that drained is drained for a duration, as the API does.
func drainFor(t *testing.T, s *Store, d time.Duration) Override {
	t.Helper()
	made, _, err := s.Edit(Edit{Key: drained, Change: func(was Override, _ bool) (Override, error) {
		was.State, was.Until, was.For = Drain, moment(s.now()).Add(d), d
		return was, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func TestDurationEndsOnTimeWhateverTheWallClockDoes(t *testing.T) {
	for name, tt := range map[string]struct{ before, after time.Duration }{
		"set ahead meanwhile":          {0, time.Hour},
		"set back meanwhile":           {0, -time.Hour},
		"made ahead, then put right":   {time.Hour, 0},
		"made behind, then put right":  {-time.Hour, 0},
		"made a year ahead, put right": {365 * 24 * time.Hour, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := newMachine(tt.before)
				s := running(t, m)
				made := drainFor(t, s, time.Minute)
				m.set(tt.after)
				time.Sleep(59 * time.Second)
				if list, _ := s.InForce(); len(list) != 1 {
					t.Fatal("it ended early")
				}
				if off := made.EndsAt(m.now()).Sub(m.now()); off < 0 || off > closeEnough {
					t.Errorf("it ends in a second and says in %s", off)
				}
				time.Sleep(time.Second)
				synctest.Wait()
				if list, _ := s.InForce(); len(list) != 0 {
					t.Error("it is still in force")
				}
			})
		})
	}
}

func TestMomentIsKeptByTheWallClockWithin30Seconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMachine(0)
		s := running(t, m)
		decide(t, s, drained, 50*time.Minute)
		time.Sleep(time.Second)
		m.set(time.Hour)
		time.Sleep(lookEvery)
		synctest.Wait()
		if list, _ := s.InForce(); len(list) != 0 {
			t.Error("it is still in force")
		}
	})
}

func TestOtherServersMeasureADurationByTheirOwnClocks(t *testing.T) {
	for name, tt := range map[string]struct{ theirs, ours, heardAfter time.Duration }{
		"both right":        {0, 0, 0},
		"theirs is ahead":   {time.Hour, 0, 0},
		"ours is ahead":     {0, time.Hour, 0},
		"heard late":        {0, 0, 40 * time.Second},
		"heard late, ahead": {time.Hour, 0, 40 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				one, other := running(t, newMachine(tt.theirs)), running(t, newMachine(tt.ours))
				drainFor(t, one, time.Minute)
				time.Sleep(tt.heardAfter)
				if _, err := other.Merge(overTheWire(t, one)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(59*time.Second - tt.heardAfter)
				for _, s := range []*Store{one, other} {
					if list, _ := s.InForce(); len(list) != 1 {
						t.Error("it ended early")
					}
				}
				time.Sleep(time.Second)
				synctest.Wait()
				for _, s := range []*Store{one, other} {
					if list, _ := s.InForce(); len(list) != 0 {
						t.Error("it is still in force")
					}
				}
				late := running(t, newMachine(-time.Hour))
				if _, err := late.Merge(overTheWire(t, one)); err != nil {
					t.Fatal(err)
				}
				if list, _ := late.InForce(); len(list) != 0 {
					t.Error("a server that hears of it when it is over takes it for new")
				}
			})
		})
	}
}

// A server of before reads and writes Until alone.
func TestDurationIsReadableByOlderServersAndTheirEndsHere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := running(t, newMachine(0))
		made := drainFor(t, s, time.Minute)
		sent := overTheWire(t, s)
		if !sent[0].Until.Equal(made.Until) {
			t.Errorf("an older server is told %s", sent[0].Until)
		}
		sent[0].For, sent[0].Left = 0, 0 // as it passes on
		other := running(t, newMachine(0))
		if _, err := other.Merge(sent); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if list, _ := other.InForce(); len(list) != 0 {
			t.Error("it is still in force")
		}
	})
}

func TestAfterARestartTheWallClockCountsAndNeverMoreThanTheDuration(t *testing.T) {
	for name, tt := range map[string]struct{ before, after, want time.Duration }{
		"right":                      {0, 0, 30 * time.Second},
		"made ahead, then put right": {time.Hour, 0, time.Minute},
		"set ahead":                  {0, time.Hour, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, db := open(t, filepath.Join(t.TempDir(), "db"))
				m := newMachine(tt.before)
				s, err := NewStore(db, Options{Now: m.now})
				if err != nil {
					t.Fatal(err)
				}
				drainFor(t, s, time.Minute)
				time.Sleep(30 * time.Second)
				m.set(tt.after)
				if s, err = NewStore(db, Options{Now: m.now}); err != nil {
					t.Fatal(err)
				}
				if err := s.Expire(); err != nil {
					t.Fatal(err)
				}
				list, _ := s.InForce()
				if tt.want == 0 {
					if len(list) != 0 {
						t.Error("it is in force")
					}
					return
				}
				if len(list) != 1 {
					t.Fatal("it is not in force")
				}
				if left := list[0].end.Sub(m.now()); (left - tt.want).Abs() > time.Second {
					t.Errorf("%s are left, want %s", left, tt.want)
				}
			})
		})
	}
}

// A clock that was an hour or a day ahead for a while stamps what everybody accepts and
// can overrule.
func TestStampsOfAClockThatWasAheadCanBeOverruled(t *testing.T) {
	for _, ahead := range []time.Duration{time.Hour, time.Hour + time.Minute, 14 * time.Hour} {
		fast, right := newMachine(ahead), newMachine(0)
		one, other := storeAt(t, fast), storeAt(t, right)
		decide(t, one, drained, 0)
		fast.set(0)
		if news, err := other.Merge(overTheWire(t, one)); err != nil || len(news) != 1 {
			t.Fatalf("%s ahead: %v", ahead, err)
		}
		for _, s := range []*Store{one, other} {
			revoked, _, err := s.Revoke(drained, "ann", "", nil)
			if err != nil {
				t.Fatalf("%s ahead: %v", ahead, err)
			}
			peer := other
			if s == other {
				peer = one
			}
			if _, err := peer.Merge(overTheWire(t, s)); err != nil {
				t.Error(err)
			}
			if list, _ := peer.InForce(); len(list) != 0 {
				t.Errorf("%s ahead: the revocation %s does not win", ahead, revoked.Stamp)
			}
			decide(t, s, drained, 0)
			if _, err := peer.Merge(overTheWire(t, s)); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestAuditHasTheTimesOfAClockThatWasSetBack(t *testing.T) {
	m := newMachine(time.Hour)
	s := storeAt(t, m)
	decide(t, s, drained, 0)
	m.set(0)
	if _, _, err := s.Revoke(drained, "ann", "", nil); err != nil {
		t.Fatal(err)
	}
	m.set(time.Hour)
	decide(t, s, drained, 0)
	entries, err := s.Audit(m.now().Add(-time.Minute), 10, "")
	if err != nil || len(entries) != 2 {
		t.Errorf("%d entries are of the last minute: %v", len(entries), err)
	}
	if entries, _ = s.Audit(time.Time{}, 10, ""); len(entries) != 3 || entries[1].At.Sub(m.now()) > -50*time.Minute {
		t.Errorf("the entries are %v", entries)
	}
}

func storeAt(t *testing.T, m *machine) *Store {
	t.Helper()
	_, db := open(t, filepath.Join(t.TempDir(), "db"))
	s, err := NewStore(db, Options{Now: m.now})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// running is a store whose Run runs until the test ends.
func running(t *testing.T, m *machine) *Store {
	t.Helper()
	s := storeAt(t, m)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return s
}

// overTheWire is everything that s holds, as another server reads it.
func overTheWire(t *testing.T, s *Store) []Override {
	t.Helper()
	b, err := Encode(s.Held(func(byte) bool { return true }))
	if err != nil {
		t.Fatal(err)
	}
	var raw []map[string]json.RawMessage
	if err := json.Unmarshal(b, &raw); err != nil || slices.ContainsFunc(raw, func(m map[string]json.RawMessage) bool { return m["Stamp"] == nil }) {
		t.Fatalf("%s: %v", b, err)
	}
	list, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	return list
}
