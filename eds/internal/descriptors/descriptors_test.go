package descriptors

import (
	"bytes"
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func account(limit int) (*Descriptors, *bytes.Buffer) {
	log := new(bytes.Buffer)
	return New(Options{Limit: limit, Logger: slog.New(slog.NewTextHandler(log, nil))}), log
}

func TestReserveFollowsTheLimit(t *testing.T) {
	for limit, want := range map[int]int{64: 32, 512: 256, 1024: 768, 100_000: 90_000} {
		if d, _ := account(limit); d.Most() != want {
			t.Errorf("with a limit of %d probes have %d, want %d", limit, d.Most(), want)
		}
	}
	if d := New(Options{}); d.limit < 64 {
		t.Errorf("the limit of this process is %d", d.limit)
	}
}

func TestProbesAreRefusedAtTheirBound(t *testing.T) {
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer lis.Close()
	d, log := account(6) // 3 for probes
	dial := func() (net.Conn, error) { return d.Dial(t.Context(), "tcp", lis.Addr().String()) }
	var conns []net.Conn
	for range 3 {
		conn, err := dial()
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	for range 3 {
		if _, err := dial(); !errors.Is(err, syscall.EMFILE) || !Lacking(err) {
			t.Errorf("beyond the bound: %v", err)
		}
	}
	if d.Used() != 3 || d.Refused() != 3 || strings.Count(log.String(), "level=WARN") != 1 {
		t.Errorf("used %d, refused %d, the log is %s", d.Used(), d.Refused(), log)
	}
	_, _ = conns[0].Close(), conns[0].Close() // twice counts once
	conn, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range append(conns, conn) {
		_ = c.Close()
	}
	lis.Close()
	if _, err := dial(); err == nil || Lacking(err) || d.Used() != 0 {
		t.Errorf("a refused connection: %v, used %d", err, d.Used())
	}
}

func TestSpareConnectionsLeaveMostToProbes(t *testing.T) {
	d, _ := account(24) // 12 for probes, 3 of them spare
	var gives []func()
	for range 3 {
		give, err := d.TakeSpare()
		if err != nil {
			t.Fatal(err)
		}
		gives = append(gives, give)
	}
	if _, err := d.TakeSpare(); !Lacking(err) {
		t.Errorf("a fourth: %v", err)
	}
	gives[0]()
	gives[0]() // counts once
	if d.Used() != 2 {
		t.Errorf("used %d", d.Used())
	}
	if _, err := d.TakeSpare(); err != nil {
		t.Error(err)
	}
}

func TestFewDescriptorsLeftAreWarnedOfOnceAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, log := account(100)
		d.look(79, nil)
		d.look(0, os.ErrNotExist) // a system without that folder
		if log.Len() > 0 {
			t.Errorf("79 of 100: %s", log)
		}
		d.look(80, nil)
		d.look(100, nil)
		d.look(0, syscall.EMFILE)
		if strings.Count(log.String(), "level=WARN") != 1 || !strings.Contains(log.String(), "used=80") {
			t.Errorf("the log is %s", log)
		}
		time.Sleep(warnEvery)
		d.look(0, syscall.EMFILE)
		if !strings.Contains(log.String(), "used=100") {
			t.Errorf("a minute later the log is %s", log)
		}
	})
}

func TestOpenFilesAreCounted(t *testing.T) {
	before, err := open()
	if err != nil {
		t.Skip("this system has no folder of open files: ", err)
	}
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if n, _ := open(); n != before+1 {
		t.Errorf("%d files are open, there were %d", n, before)
	}
}

// exhausted is a listener in a process without descriptors.
type exhausted struct{ net.Listener }

func (exhausted) Accept() (net.Conn, error) {
	return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
}
func (exhausted) Addr() net.Addr { return &net.TCPAddr{Port: 80} }

func TestListenerWithoutDescriptorsWarnsAndPassesTheErrorOn(t *testing.T) {
	d, log := account(100)
	lis := d.Listener(exhausted{})
	for range 3 {
		_, err := lis.Accept()
		if temporary, ok := err.(interface{ Temporary() bool }); !ok || !temporary.Temporary() { // or net/http would give up
			t.Errorf("the error is %v", err)
		}
	}
	if strings.Count(log.String(), "level=WARN") != 1 || !strings.Contains(log.String(), "address=:80") {
		t.Errorf("the log is %s", log)
	}
}
