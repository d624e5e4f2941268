package decide

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
)

func TestSlowDiskIsWaitedForFiftyMillisecondsAndOnlyOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow, quick := make(chan struct{}), make(chan struct{})
		close(quick)
		next := (<-chan struct{})(slow)
		l := &Loop{Options: Options{Store: func(*registry.Snapshot) <-chan struct{} { return next }}}
		took := func() time.Duration {
			start := time.Now()
			l.remember(nil)
			return time.Since(start)
		}
		if d := took(); d != storeMost {
			t.Errorf("waited for %s, want %s", d, storeMost)
		}
		if d := took(); d != 0 {
			t.Errorf("waited for %s more although the disk is slow", d)
		}
		close(slow)
		next = quick
		took()
		next = make(chan struct{})
		if d := took(); d != storeMost {
			t.Errorf("waited for %s once the disk has caught up, want %s", d, storeMost)
		}
	})
}
