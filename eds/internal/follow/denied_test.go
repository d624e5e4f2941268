package follow

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
	"github.com/rollcall-fleet/rollcall/eds/internal/xds"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// desk is receipts in virtual time, without Envoys.
type desk struct {
	*Receipts
	acks chan struct{}
}

func newDesk(t *testing.T, send func(*fleet.Member, fleet.Receipt) error) desk {
	acks := make(chan struct{}, 1)
	r := NewReceipts(xds.New(xds.Options{}).Standings, acks, send, func(string, time.Duration) {}, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { r.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
	return desk{r, acks}
}

func (d desk) members(ms ...*fleet.Member) {
	fleet.SortMembers(ms)
	d.Update(&registry.Snapshot{Settled: true, Members: ms})
}

func refused(port uint16) fleet.Member {
	m := backend(port)
	m.Quarantine = "it has not answered"
	return m
}

// Those that are refused may be nowhere, and each send to them takes its time.
func TestUnreachableRefusedMembersDelayNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		leaving := drained(backend(9000))
		leaving.ID = uuid.Max // its turn is last
		told := make(chan fleet.Receipt, 10)
		d := newDesk(t, func(m *fleet.Member, r fleet.Receipt) error {
			if m.ID == leaving.ID {
				told <- r
				return nil
			}
			time.Sleep(3 * time.Second)
			return errors.New("timeout")
		})
		var all []*fleet.Member
		for i := range 200 {
			m := refused(uint16(1000 + i))
			if i%2 == 0 {
				m = drained(m) // it waits for a word, too
			}
			all = append(all, new(m))
		}
		d.members(all...)
		time.Sleep(2 * refusedAfter)
		d.members(append(all, new(leaving))...)
		time.Sleep(time.Second)
		select {
		case r := <-told:
			if r.State != fleet.ReceiptGone {
				t.Errorf("it is told %+v", r)
			}
		default:
			t.Error("it is not told that it is gone")
		}
	})
}

func TestRefusedMemberThatRejectsMessagesIsRetriedSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var sends atomic.Int64
		d := newDesk(t, func(*fleet.Member, fleet.Receipt) error { sends.Add(1); return errors.New("refused") })
		d.members(new(refused(1000)))
		for range 10_000 { // Envoys that acknowledge something
			select {
			case d.acks <- struct{}{}:
			default:
			}
			time.Sleep(time.Millisecond)
		}
		if n := sends.Load(); n != 1 {
			t.Errorf("%d sends within ten seconds, want one", n)
		}
		time.Sleep(refusedAgain)
		if n := sends.Load(); n != 2 {
			t.Errorf("%d sends a minute later, want another one", n)
		}
	})
}

func TestRefusalIsSentOnceTheMemberIsReachableAndAgainAfterItWasLifted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := make(chan string, 10)
		d := newDesk(t, func(_ *fleet.Member, r fleet.Receipt) error { told <- r.Behind; return nil })
		m := refused(1000)
		is := func(liveness fleet.Liveness, quarantine string, health fleet.Health, want int) {
			t.Helper()
			m.Liveness, m.Quarantine, m.Endpoint.Health = liveness, quarantine, health
			d.members(new(m))
			time.Sleep(2 * refusedAfter)
			if synctest.Wait(); len(told) != want {
				t.Errorf("%s, %q, %s: it was told %d times, want %d", liveness, quarantine, health, len(told), want)
			}
		}
		is(fleet.Dead, "no room", fleet.Healthy, 0)
		is(fleet.Alive, "no room", fleet.Healthy, 1)
		is(fleet.Alive, "", fleet.Unhealthy, 1)
		is(fleet.Alive, "no room", fleet.Healthy, 2)
	})
}
