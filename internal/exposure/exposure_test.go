package exposure

import (
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func at(addr string, locked bool) Address {
	a := Address{Flag: "--http", Locked: locked, Lock: "--http-tokens FILE"}
	if addr != "" {
		a.Addr = netip.MustParseAddr(addr)
	}
	return a
}

func TestOnlyLoopbackIsOpenWithoutALock(t *testing.T) {
	for addr, want := range map[string]bool{
		"": true, "127.0.0.1": true, "127.8.9.10": true, "::1": true, "::ffff:127.0.0.1": true,
		"0.0.0.0": false, "::": false, "10.0.0.1": false, "192.168.1.1": false, "169.254.1.1": false,
		"fe80::1": false, "2001:db8::1": false, "::ffff:10.0.0.1": false,
	} {
		open, err := Check(false, at(addr, false))
		if (err == nil) != want || (len(open) == 0) != want {
			t.Errorf("%s: open %v, error %v", addr, open, err)
		}
		if err != nil && !strings.Contains(err.Error(), "pass --http-tokens FILE") {
			t.Errorf("%s: the error does not say what to pass: %v", addr, err)
		}
		if open, err := Check(false, at(addr, true)); err != nil || open != nil {
			t.Errorf("%s locked: open %v, error %v", addr, open, err)
		}
		if open, err := Check(true, at(addr, false)); err != nil || (len(open) == 0) != want {
			t.Errorf("%s insecure: open %v, error %v", addr, open, err)
		}
	}
}

type lines struct {
	mu sync.Mutex
	n  int
	s  string
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
	l.s = string(b)
	return len(b), nil
}

func (l *lines) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.n
}

func TestWhatIsOpenIsLoggedAtStartAndEveryHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lines
		logger := slog.New(slog.NewTextHandler(&log, nil))
		Warn(logger, nil)()
		stop := Warn(logger, []Address{at("10.0.0.1", false)})
		for hour := range 4 {
			synctest.Wait()
			if log.count() != hour+1 {
				t.Errorf("%d lines after %d hours", log.count(), hour)
			}
			time.Sleep(time.Hour)
		}
		stop()
		if !strings.Contains(log.s, "WARN") || !strings.Contains(log.s, "--http 10.0.0.1") {
			t.Errorf("logged %s", log.s)
		}
	})
}
