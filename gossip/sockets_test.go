package gossip

import (
	"bytes"
	"errors"
	"log"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/memberlist"
)

func openSockets(t *testing.T) *sockets {
	t.Helper()
	s, err := listen(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"), log.New(t.Output(), "", 0))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Shutdown(); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	})
	return s
}

func (s *sockets) addr() string { return s.tcp.Addr().String() }

// A packet must stay as it came while later ones are read.
func TestPacketsDoNotShareTheirBytes(t *testing.T) {
	from, to := openSockets(t), openSockets(t)
	sent := [][]byte{[]byte("first"), bytes.Repeat([]byte("x"), 60_000), []byte("last!")}
	var got []*memberlist.Packet
	for _, b := range sent {
		if _, err := from.WriteToAddress(b, memberlist.Address{Addr: to.addr()}); err != nil {
			t.Fatal(err)
		}
		select {
		case p := <-to.PacketCh():
			got = append(got, p)
		case <-time.After(10 * time.Second):
			t.Fatal("no packet")
		}
	}
	for i, p := range got {
		if !bytes.Equal(p.Buf, sent[i]) || cap(p.Buf) > 2*len(p.Buf)+64 {
			t.Errorf("packet %d has %d bytes in a buffer of %d, %d were sent", i, len(p.Buf), cap(p.Buf), len(sent[i]))
		}
		if p.From.String() != from.addr() {
			t.Errorf("it is from %s, want %s", p.From, from.addr())
		}
	}
}

func TestShutdownWaitsForNobodyToTakeWhatCame(t *testing.T) {
	from, to := openSockets(t), openSockets(t)
	if _, err := from.WriteTo([]byte("unread"), to.addr()); err != nil {
		t.Fatal(err)
	}
	conn, err := from.DialTimeout(to.addr(), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ended := make(chan error, 1)
	go func() { ended <- to.Shutdown() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it hangs")
	}
}

func TestATakenPortIsNamedWithItsOption(t *testing.T) {
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	taken := udp.LocalAddr().(*net.UDPAddr).AddrPort()
	if _, err := listen(t.Context(), taken, log.New(t.Output(), "", 0)); err == nil || !strings.Contains(err.Error(), "option Bind "+taken.String()) {
		t.Fatalf("the error is %v", err)
	}
	var s sockets
	if err := s.bind(taken); err == nil {
		t.Fatal("it is bound twice")
	}
	if s.tcp == nil { // another process has the TCP port
		return
	}
	if _, err := s.tcp.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the attempt left its TCP port open: %v", err)
	}
}

// A peer that connects and leaves without sending, such as a member that is stopped just
// then, is no stranger of another fleet.
func TestAStreamWithoutAWordIsNoError(t *testing.T) {
	lines := newBook(slog.LevelDebug)
	p := open(t, Options{Member: upstreamMember(), Bind: loopback, Fleet: "blue", Logger: lines.logger()})
	say := func(what string) {
		t.Helper()
		conn, err := net.Dial("tcp", p.Self().Gossip.String())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte(what)); err != nil {
			t.Error(err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	}
	say("")
	lines.wait(t, "level=DEBUG", errSilent.Error())
	say("hello, unlabelled")
	lines.wait(t, "level=ERROR", "unacceptable label")
	if loud := lines.grep("level=ERROR"); len(loud) != 1 {
		t.Errorf("there are %d errors, want the unlabelled stream alone:\n%s", len(loud), strings.Join(loud, "\n"))
	}
}
