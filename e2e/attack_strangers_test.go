package e2e

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/e2e/faults"
	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// beginning is how an encrypted message begins that says how long it is: memberlist 0.7.0
// reads it as a whole before it decrypts it.
func beginning(fleet string, size int) []byte {
	b := append([]byte{244, byte(len(fleet))}, fleet...)
	return append(b, 10, byte(size>>24), byte(size>>16), byte(size>>8), byte(size))
}

// The stranger has no key. It begins large messages, and opens connections and says
// nothing.
func TestStrangersAtTheGossipPortCostLittleAndKeepNobodyOut(t *testing.T) {
	s := newSecrets(t)
	m := machinesOf(t, faults.Options{Members: s.member(), Spare: 2}, 2)
	const stranger, newcomer = 3, 4
	const rss = "process_resident_memory_bytes"
	before := must2(metricOf(within(t, patience), m.API, rss))(t)

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	var attack sync.WaitGroup
	defer attack.Wait()
	defer cancel()
	dial := m.Net.Dialer(stranger)
	connect := func(message []byte) {
		conn, err := dial(ctx, "tcp", net.JoinHostPort(m.Net.Addr(0), "7946"))
		if err != nil {
			return
		}
		defer conn.Close()
		defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
		_, _ = conn.Write(message)
		_, _ = conn.Read(make([]byte, 1)) // until it is closed
	}
	const large = 20 << 20
	message := append(beginning("rollcall", large), make([]byte, large-1)...)
	for i := range 340 {
		text := message
		if i >= 40 {
			text = nil
		}
		attack.Go(func() {
			for ctx.Err() == nil {
				connect(text)
			}
		})
	}
	time.Sleep(time.Second)
	must(t, 0, m.Upstream(newcomer, "--join", m.Net.Addr(0)+":7946"))
	must2(m.Until(within(t, 10*time.Second), 3))(t)
	most := 0.0
	for range 20 {
		most = max(most, must2(metricOf(within(t, 2*time.Second), m.API, rss))(t))
		time.Sleep(50 * time.Millisecond)
	}
	if most > before+300<<20 {
		t.Errorf("memory went from %.0f to %.0f bytes", before, most)
	}
	t.Logf("memory went from %.0f to %.0f MB", before/1e6, most/1e6)
	must(t, 0, stage.Eventually(within(t, patience), func(ctx context.Context) error {
		n, err := metricOf(ctx, m.API, `rollcall_gossip_refused_total{cause="connections"}`)
		if err == nil && n == 0 {
			err = fmt.Errorf("no connection was refused")
		}
		return err
	}))
	keeps(t, m, time.Second)
}
