package probe

import (
	"context"
	"net"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// The kernel of a dying process may accept a connection and reset it before the one
// who dials has looked.
func TestConnectionResetWhileDialingIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, 1, 0)
		defer s.stop()
		dial, dying := s.p.opts.Dial, false
		var mu sync.Mutex
		reset := make(map[string]bool)
		s.p.opts.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
			mu.Lock()
			first := dying && !reset[addr]
			reset[addr] = dying
			mu.Unlock()
			if first {
				return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNRESET}
			}
			return dial(ctx, network, addr)
		}
		s.watch(s.targets[0])
		s.pass(100 * time.Millisecond)
		s.want(0, Good)
		mu.Lock()
		dying = true
		mu.Unlock()
		s.do(0, "die")
		s.pass(50 * time.Millisecond)
		s.want(0, Dead)
	})
}
