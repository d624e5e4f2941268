package eds

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestStopsRunInReverseOrder(t *testing.T) {
	var s stopper
	var order []string
	for _, name := range []string{"first", "second"} {
		s.add(name, func() error { order = append(order, name); return errors.New(name) })
	}
	err := s.stop()
	if !slices.Equal(order, []string{"second", "first"}) || err.Error() != "second\nfirst" {
		t.Errorf("the order is %v, the error %v", order, err)
	}
	if err := s.stop(); err != nil {
		t.Errorf("a second stop: %v", err)
	}
}

func TestPartThatHangsHoldsUpTheOthersForABoundedTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		hang := func() error { <-release; return nil }
		s := stopper{total: DefaultOptions().ShutdownTimeout}
		closed := false
		s.add("files", func() error { closed = true; return nil })
		s.addSlow("pool", leaveStop, hang)
		for range 6 {
			s.add("database", hang)
		}
		s.goRun("loop", func(context.Context) { <-release })
		began := time.Now()
		err := s.stop()
		if took := time.Since(began); took < stopStep || took > DefaultOptions().ShutdownTimeout+time.Second {
			t.Errorf("it took %s", took)
		}
		if !closed {
			t.Error("what was started before the part that hangs was not stopped")
		}
		for _, name := range []string{"database", "pool", "loop"} {
			if err == nil || !strings.Contains(err.Error(), name+" did not stop within") {
				t.Errorf("the error does not name %s: %v", name, err)
			}
		}
	})
}
