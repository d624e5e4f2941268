package memnet

import (
	"errors"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

var a, b, c = netip.MustParseAddrPort("10.0.0.1:1"), netip.MustParseAddrPort("10.0.0.2:1"), netip.MustParseAddrPort("10.0.0.3:1")

func TestPacketsArriveUnlessCutOrLost(t *testing.T) {
	n := New(1)
	from, to, third := n.Transport(a), n.Transport(b), n.Transport(c)
	arrive := func(sent int) int {
		for range sent {
			if _, err := from.WriteTo([]byte("x"), b.String()); err != nil {
				t.Fatal(err)
			}
		}
		got := 0
		for {
			select {
			case p := <-to.PacketCh():
				if got++; p.From.String() != a.String() || string(p.Buf) != "x" {
					t.Fatalf("packet %q from %s", p.Buf, p.From)
				}
			default:
				return got
			}
		}
	}
	if got := arrive(100); got != 100 {
		t.Errorf("%d of 100 arrive", got)
	}
	n.Loss(b, 0.3)
	if got := arrive(1000); got < 600 || got > 800 {
		t.Errorf("%d of 1000 arrive with a loss of 30 %%", got)
	}
	n.Loss(b, 0)
	n.Cut(b, c)
	if got := arrive(100); got != 0 {
		t.Errorf("%d arrive at a member that is cut off", got)
	}
	if _, err := third.WriteTo([]byte("x"), b.String()); err != nil || len(to.PacketCh()) != 1 {
		t.Error("members that are cut off together do not reach each other")
	}
	<-to.PacketCh()
	n.Heal(b, c)
	if got := arrive(100); got != 100 {
		t.Errorf("%d of 100 arrive after healing", got)
	}
}

func TestDialIsAnsweredRefusedOrTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		from, to := n.Transport(a), n.Transport(b)
		go func() {
			conn := <-to.StreamCh()
			_, _ = conn.Write([]byte("hello"))
			_ = conn.Close()
		}()
		conn, err := from.DialTimeout(b.String(), time.Second)
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 10)
		if k, err := conn.Read(buf); err != nil || string(buf[:k]) != "hello" {
			t.Errorf("read %q, %v", buf[:k], err)
		}
		n.Cut(b)
		start := time.Now()
		if _, err := from.DialTimeout(b.String(), time.Second); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("a dial to a member that is cut off gives %v after %s", err, time.Since(start))
		}
		n.Heal(b)
		_ = to.Shutdown()
		if _, err := from.DialTimeout(b.String(), time.Second); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a dial to a member that was shut down gives %v", err)
		}
	})
}

func TestLagDelaysPacketsAndDials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := New(1)
		from, to := n.Transport(a), n.Transport(b)
		n.Lag(b, time.Second)
		for range 100 {
			start := time.Now()
			if _, err := from.WriteTo([]byte("x"), b.String()); err != nil {
				t.Fatal(err)
			}
			<-to.PacketCh()
			if took := time.Since(start); took == 0 || took >= time.Second {
				t.Fatalf("a packet takes %s", took)
			}
		}
		start := time.Now()
		if _, err := from.DialTimeout(b.String(), time.Nanosecond); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != time.Nanosecond {
			t.Errorf("a dial gives %v after %s", err, time.Since(start))
		}
		n.Lag(b, 0)
		start = time.Now()
		_, _ = from.WriteTo([]byte("x"), b.String())
		<-to.PacketCh()
		if took := time.Since(start); took != 0 {
			t.Errorf("a packet still takes %s", took)
		}
	})
}
