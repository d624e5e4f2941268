package eds

import (
	"fmt"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/gossip"
)

// exclude has an operator take a host out, at s.
func (s *node) exclude(t *testing.T, host, reason string) {
	t.Helper()
	_, _, err := s.Overrides.Edit(override.Edit{
		Key: override.Key{Service: service, Host: host}, Actor: "ann", Reason: reason,
		Change: func(o override.Override, _ bool) (override.Override, error) {
			o.State = override.Exclude
			return o, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// decided is what s holds about a host.
func (s *node) decided(host string) (override.Override, bool) {
	return s.Overrides.Get(override.Key{Service: service, Host: host}.ID())
}

func TestTwoPartitionedServersAgreeWithinTwoSeconds(t *testing.T) {
	const both, left, right = "10.9.0.1:80", "10.9.0.2:80", "10.9.0.3:80"
	db1, db2 := openTestDB(t), openTestDB(t)
	play(t, func(t *testing.T, w *world) {
		a := w.eds(gossip.Options{}, db1)
		b := w.eds(gossip.Options{Seeds: []string{a.pool.Self().Gossip.String()}}, db2)
		w.within(10*time.Second, "they meet", func() bool { return alive(a.Snapshot()) == 2 && alive(b.Snapshot()) == 2 })
		a.exclude(t, both, "before")
		w.within(100*time.Millisecond, "the other has it", func() bool { _, ok := b.decided(both); return ok })

		w.net.Cut(b.pool.Self().Gossip)
		w.within(time.Minute, "they lose each other", func() bool { return alive(a.Snapshot()) == 1 && alive(b.Snapshot()) == 1 })
		b.exclude(t, both, "b")
		b.exclude(t, right, "b")
		time.Sleep(time.Second)
		a.exclude(t, both, "a, later")
		a.exclude(t, left, "a")
		time.Sleep(time.Minute)
		if _, ok := b.decided(left); ok {
			t.Fatal("they were not apart")
		}

		w.net.Heal(b.pool.Self().Gossip)
		w.within(time.Minute, "they see each other again", func() bool { return alive(a.Snapshot()) == 2 && alive(b.Snapshot()) == 2 })
		w.within(2*time.Second, "they agree", func() bool { return a.Overrides.Digest() == b.Overrides.Digest() })
		for _, s := range []*node{a, b} {
			o, _ := s.decided(both)
			_, l := s.decided(left)
			_, r := s.decided(right)
			if o.Reason != "a, later" || !l || !r || s.Overrides.ServiceTag(service) != a.Overrides.ServiceTag(service) {
				t.Errorf("one holds %+v, %t, %t", o, l, r)
			}
			entries, err := s.Overrides.Audit(time.Time{}, 100, "")
			if err != nil || len(entries) != 5 {
				t.Errorf("its audit has %d entries, %v, want all five", len(entries), err)
			}
		}
	})
	for _, db := range []string{"the first", "the second"} {
		s, err := override.NewStore(db1, override.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if list, _ := s.InForce(); len(list) != 3 || list[0].Reason != "a, later" {
			t.Errorf("%s has %+v on disk", db, list)
		}
		db1 = db2
	}
}

func TestOverrideOfAProcessEndsWhenItLeavesOrWasDeadForAnHour(t *testing.T) {
	db1, db2 := openTestDB(t), openTestDB(t)
	play(t, func(t *testing.T, w *world) {
		a := w.eds(gossip.Options{}, db1)
		b := w.eds(gossip.Options{Seeds: []string{a.pool.Self().Gossip.String()}}, db2)
		stays, leaves, dies := w.upstream(a.pool), w.upstream(a.pool), w.upstream(a.pool)
		w.within(20*time.Second, "all are there", func() bool { return alive(a.Snapshot()) == 5 && alive(b.Snapshot()) == 5 && b.Snapshot().Settled })
		hosts := make(map[*gossip.Pool]string)
		for _, p := range []*gossip.Pool{stays, leaves, dies} {
			hosts[p] = p.Self().ID.String()
			a.exclude(t, hosts[p], "")
		}
		const unknown = "10.9.0.1:80"
		a.exclude(t, unknown, "")
		w.kill(dies)
		if err := leaves.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.within(10*time.Second, "that about the one that left ends", func() bool {
			_, one := a.decided(hosts[leaves])
			_, two := b.decided(hosts[leaves])
			return !one && !two
		})
		there := func(p *gossip.Pool) bool {
			_, one := a.decided(hosts[p])
			_, two := b.decided(hosts[p])
			return one && two
		}
		time.Sleep(50 * time.Minute)
		if !there(stays) || !there(dies) {
			t.Errorf("after 50 minutes the live one has its override: %t, the dead one: %t", there(stays), there(dies))
		}
		time.Sleep(15 * time.Minute)
		w.within(10*time.Minute, "that about the dead one ends", func() bool { return !there(dies) })
		time.Sleep(10 * time.Second)
		if _, ok := b.decided(unknown); !ok || !there(stays) || a.Overrides.Digest() != b.Overrides.Digest() {
			t.Errorf("an address is decided: %t, the live one: %t", ok, there(stays))
		}
		entries, err := b.Overrides.Audit(time.Time{}, 2, "")
		if err != nil || entries[0].Action != override.Revoked || entries[0].Override.Actor != "rollcall" || entries[0].Override.Reason == "" {
			t.Errorf("the audit ends with %+v, %v", entries, err)
		}
	})
}

func TestPartitionedServerEndsNoOverride(t *testing.T) {
	db := openTestDB(t)
	play(t, func(t *testing.T, w *world) {
		a := w.eds(gossip.Options{}, db)
		p, _ := w.upstream(a.pool), w.upstream(a.pool)
		w.within(20*time.Second, "both are served", func() bool { return served(a.Snapshot()) == 2 })
		id := p.Self().ID.String()
		a.exclude(t, id, "")
		w.net.Cut(a.pool.Self().Gossip)
		w.endpoints.set(func() { w.endpoints.deaf = true })
		time.Sleep(80 * time.Minute)
		if _, ok := a.decided(id); !ok {
			t.Error("the override is gone")
		}
	})
}

// A server that is new to the pool serves nothing that operators have taken out.
func TestNewServerServesNothingBeforeItKnowsTheOverrides(t *testing.T) {
	db1, db2 := openTestDB(t), openTestDB(t)
	play(t, func(t *testing.T, w *world) {
		a := w.eds(gossip.Options{}, db1)
		out, _ := w.upstream(a.pool), w.upstream(a.pool)
		w.within(20*time.Second, "both are served", func() bool { return served(a.Snapshot()) == 2 })
		a.exclude(t, out.Self().ID.String(), "")
		for i := range 200 {
			a.exclude(t, fmt.Sprintf("10.9.%d.%d:80", i>>8, i&255), "")
		}
		w.within(time.Second, "one is served", func() bool { return served(a.Snapshot()) == 1 })
		b := w.eds(gossip.Options{Seeds: []string{a.pool.Self().Gossip.String()}}, db2)
		w.within(20*time.Second, "it is settled", func() bool { return b.Snapshot().Settled })
		time.Sleep(time.Second)
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, snap := range b.snapshot {
			if n := served(snap); snap.Settled && n != 1 {
				t.Fatalf("it serves %d", n)
			}
		}
	})
}
