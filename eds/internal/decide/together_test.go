package decide

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.etcd.io/bbolt"

	"github.com/rollcall-fleet/rollcall/eds/internal/admit"
	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/eds/internal/pace"
	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// restless is a pool that says that it has changed.
type restless struct {
	crowd
	changed chan struct{}
	urgent  chan struct{}
}

func (r *restless) Urgent() <-chan struct{} { return r.urgent }

func (r *restless) Changed() <-chan struct{} { return r.changed }

func (r *restless) change() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

// The first change is acted upon at once, those that follow it closely together, and
// none waits longer than that, however many there are.
func TestChangesThatFollowEachOtherCloselyAreActedUponTogether(t *testing.T) {
	db, err := bbolt.Open(filepath.Join(t.TempDir(), "db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	synctest.Test(t, func(t *testing.T) {
		store, err := override.NewStore(db, override.Options{})
		if err != nil {
			t.Fatal(err)
		}
		quiet := slog.New(slog.DiscardHandler)
		admission, err := admit.NewAdmission(admit.AdmissionOptions{Options: admit.Options{Local: true}, Ask: func(context.Context, *fleet.Member) bool { return true }, Known: nil, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		p := &restless{changed: make(chan struct{}, 1), urgent: make(chan struct{}, 1)}
		var at []time.Time
		l := New(Options{Pool: p, Prober: p, Overrides: store, Behind: func() bool { return false }, Admission: admission, Logger: quiet,
			Publish: []func(*registry.Snapshot){func(*registry.Snapshot) { at = append(at, time.Now()) }}})
		ctx, stop := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() { l.Run(ctx) })
		time.Sleep(time.Second)
		synctest.Wait()
		at = nil

		began := time.Now()
		for range 100 { // one each millisecond
			p.change()
			time.Sleep(time.Millisecond)
		}
		last := time.Now()
		time.Sleep(time.Second)
		synctest.Wait()
		slow := at
		p.change()
		time.Sleep(time.Millisecond)
		p.change()
		p.urgent <- struct{}{}
		time.Sleep(time.Second)
		stop()
		wg.Wait()
		if n := len(at); n != len(slow)+2 || at[n-1].Sub(at[n-2]) != pace.Urgent {
			t.Errorf("an urgent change that follows another closely was acted upon at %v", at[len(slow):])
		}
		at = slow
		if len(at) == 0 || !at[0].Equal(began) {
			t.Fatalf("acted upon at %v, want the first at %v", at, began)
		}
		for i := 1; i < len(at); i++ {
			if d := at[i].Sub(at[i-1]); d < pace.Together {
				t.Errorf("Snapshot %d came %s after the one before", i, d)
			}
			if d := at[i].Sub(at[i-1]); d > 50*time.Millisecond && at[i].Before(last) {
				t.Errorf("a change waited %s", d)
			}
		}
		if d := at[len(at)-1].Sub(last); d < -time.Millisecond || d > 50*time.Millisecond {
			t.Errorf("the last change was acted upon %s after it", d)
		}
		if len(at) > 7 {
			t.Errorf("%d Snapshots for 100 ms of changes", len(at))
		}
	})
}
