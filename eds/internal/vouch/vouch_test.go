package vouch

import (
	"context"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/rollcall-fleet/rollcall/fleet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func member(n byte) fleet.Member {
	return fleet.Member{ID: uuid.UUID{n}, Gossip: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, n}), 7946)}
}

// crowd answers for who is there, and counts who was asked.
type crowd struct {
	mu    sync.Mutex
	there map[uuid.UUID]bool
	asked map[uuid.UUID]int
}

func (c *crowd) ask(ctx context.Context, m *fleet.Member) bool {
	c.mu.Lock()
	c.asked[m.ID]++
	there := c.there[m.ID]
	c.mu.Unlock()
	if !there {
		select {
		case <-ctx.Done():
		case <-time.After(250 * time.Millisecond):
		}
	}
	return there
}

func nobody() map[uuid.UUID]bool { return nil }

func play(t *testing.T, known []*fleet.Member, f func(*Voucher, *crowd)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{there: make(map[uuid.UUID]bool), asked: make(map[uuid.UUID]int)}
		v := New(c.ask, known)
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { v.Run(ctx) })
		f(v, c)
		stop()
		wg.Wait()
	})
}

func TestMemberIsAskedUntilItHasAnswered(t *testing.T) {
	play(t, nil, func(v *Voucher, c *crowd) {
		here, late, gone := member(1), member(2), member(3)
		c.there[here.ID] = true
		v.Watch([]*fleet.Member{new(here), new(late), new(gone)}, nobody)
		synctest.Wait()
		<-v.Changed()
		if s := v.State(&here); s != Proven {
			t.Errorf("who answers at once is %d", s)
		}
		if s := v.State(&late); s != Unasked {
			t.Errorf("before there is an outcome it is %d", s)
		}
		time.Sleep(300 * time.Millisecond)
		if s := v.State(&late); s != Silent {
			t.Errorf("who does not answer is %d", s)
		}
		c.mu.Lock()
		c.there[late.ID] = true
		c.mu.Unlock()
		time.Sleep(time.Second)
		if s := v.State(&late); s != Proven {
			t.Errorf("who answers later is %d", s)
		}
		time.Sleep(10 * time.Minute)
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.asked[here.ID] != 1 {
			t.Errorf("who has answered was asked %d times", c.asked[here.ID])
		}
		if n := c.asked[gone.ID]; n < 100 || n > 150 {
			t.Errorf("who never answers was asked %d times in ten minutes", n)
		}
	})
}

func TestAProofLapsesIfItCannotBeRenewed(t *testing.T) {
	here, out := member(1), member(2)
	play(t, []*fleet.Member{new(here), new(out)}, func(v *Voucher, c *crowd) {
		c.there[here.ID] = true
		v.Watch([]*fleet.Member{new(here), new(out)}, nobody)
		synctest.Wait()
		v.Renew()
		time.Sleep(300 * time.Millisecond)
		if here, out := v.State(&here), v.State(&out); here != Proven || out != Stale {
			t.Errorf("after a challenge who answers is %d, who does not %d", here, out)
		}
		time.Sleep(2 * time.Second)
		if here, out := v.State(&here), v.State(&out); here != Proven || out != Lapsed {
			t.Errorf("after several who answers is %d, who does not %d", here, out)
		}
		c.mu.Lock()
		c.there[out.ID] = true
		c.mu.Unlock()
		time.Sleep(10 * time.Second)
		if s := v.State(&out); s != Proven {
			t.Errorf("who answers later is %d", s)
		}
	})
}

func TestProofIsOfOneAddress(t *testing.T) {
	m := member(1)
	play(t, []*fleet.Member{new(m)}, func(v *Voucher, c *crowd) {
		v.Watch([]*fleet.Member{new(m)}, nobody)
		synctest.Wait()
		if s := v.State(&m); s != Proven || c.asked[m.ID] != 0 {
			t.Errorf("who was proven before a restart is %d, and was asked %d times", s, c.asked[m.ID])
		}
		moved := m
		moved.Gossip = member(2).Gossip
		if s := v.State(&moved); s != Unasked {
			t.Errorf("at another address it is %d", s)
		}
	})
}

func TestDepartedMembersAreForgottenExceptProofsOfThoseInService(t *testing.T) {
	play(t, nil, func(v *Voucher, c *crowd) {
		var all []*fleet.Member
		serving := make(map[uuid.UUID]bool)
		for i := range 200 {
			all = append(all, new(member(byte(i))))
			c.there[all[i].ID] = i%2 == 0
			serving[all[i].ID] = i < 100
		}
		v.Watch(all, nobody)
		time.Sleep(time.Second)
		v.Watch(nil, func() map[uuid.UUID]bool { return serving })
		synctest.Wait()
		if n := len(v.states); n != 50 {
			t.Errorf("%d states are kept, want those of who was proven and is in service", n)
		}
		for i, want := range map[int]State{0: Proven, 1: Unasked, 100: Unasked} {
			if s := v.State(all[i]); s != want {
				t.Errorf("who is back as number %d is %d, want %d", i, s, want)
			}
		}
		before := c.asked[all[1].ID]
		time.Sleep(time.Minute)
		if c.asked[all[1].ID] != before {
			t.Error("who is gone is still asked")
		}
		v.Watch(nil, nobody)
		synctest.Wait()
		if n := len(v.states); n != 0 {
			t.Errorf("%d states are kept of nobody in service", n)
		}
	})
}

// However many do not exist, who does is asked in time.
func TestMembersThatNeverAnswerDelayNoOther(t *testing.T) {
	play(t, nil, func(v *Voucher, c *crowd) {
		var all []*fleet.Member
		for i := range 10 * atOnce {
			m := member(1)
			m.ID = uuid.NewSHA1(uuid.Nil, []byte{byte(i >> 8), byte(i)})
			all = append(all, new(m))
		}
		v.Watch(all, nobody)
		time.Sleep(time.Minute)
		here := member(2)
		c.mu.Lock()
		c.there[here.ID] = true
		c.mu.Unlock()
		v.Watch(append(all, new(here)), nobody)
		time.Sleep(10 * time.Millisecond)
		if s := v.State(&here); s != Proven {
			t.Errorf("who is there is %d", s)
		}
	})
}
