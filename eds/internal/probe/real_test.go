package probe

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// soon is before the next probe would have found it, on most days.
const soon = 500 * time.Millisecond

// onRealSockets runs a Prober that watches targets, until the test ends. Their
// gossip says what pings says.
func onRealSockets(t testing.TB, pings bool, targets ...Target) *Prober {
	t.Helper()
	p := New(Options{Ping: func(context.Context, Target) bool { return pings }})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	p.Watch(targets)
	return p
}

// await waits for a verdict and says how long it took.
func await(t testing.TB, p *Prober, key Key, want Verdict, limit time.Duration) time.Duration {
	t.Helper()
	began := time.Now()
	for end := time.After(limit); p.Evidence()[key].Verdict != want; {
		select {
		case <-p.Changed():
		case <-end:
			t.Fatalf("%q after %v, want %q", p.Evidence()[key].Verdict, limit, want)
		}
	}
	return time.Since(began)
}

func listen(t testing.TB) (net.Listener, netip.AddrPort) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln, ln.Addr().(*net.TCPAddr).AddrPort()
}

func TestKilledProcessIsDeadAtOnce(t *testing.T) {
	var took []time.Duration
	for range 20 {
		member, target := startMember(t, "me")
		p := onRealSockets(t, false, target)
		await(t, p, target.Key, Good, 5*time.Second)
		member.signal(t, syscall.SIGKILL)
		took = append(took, await(t, p, target.Key, Dead, 5*time.Second))
	}
	slices.Sort(took)
	median, worst := took[len(took)/2], took[len(took)-1]
	t.Logf("median %v, worst %v", median, worst)
	if median > 100*time.Millisecond || worst > soon {
		t.Errorf("a kill was seen after %v in median, %v at worst", median, worst)
	}
}

func TestStoppedProcessIsSilentUntilItContinues(t *testing.T) {
	member, target := startMember(t, "me")
	for _, tt := range []struct {
		pings bool
		want  Verdict
	}{{false, Silent}, {true, Hanging}} {
		p := onRealSockets(t, tt.pings, target)
		await(t, p, target.Key, Good, 5*time.Second)
		member.signal(t, syscall.SIGSTOP)
		out := await(t, p, target.Key, tt.want, 10*time.Second)
		time.Sleep(time.Second) // it stays so
		if v := p.Evidence()[target.Key].Verdict; v != tt.want {
			t.Errorf("%q, want %q", v, tt.want)
		}
		member.signal(t, syscall.SIGCONT)
		back := await(t, p, target.Key, Good, soon)
		t.Logf("%s after %v, back after %v", tt.want, out, back)
	}
}

func TestPortThatOnlyTheKernelServes(t *testing.T) {
	ln, addr := listen(t)
	target := Target{Key: Key{ID: "me", Addr: addr}, Kind: fleet.ProbeHTTP, Path: "/healthz"}
	p := onRealSockets(t, false, target)
	await(t, p, target.Key, Silent, 10*time.Second)
	server := &http.Server{Handler: answer("me")}
	served := make(chan error)
	go func() { served <- server.Serve(ln) }()
	t.Logf("back after %v", await(t, p, target.Key, Good, soon))
	server.Close()
	<-served
	await(t, p, target.Key, Dead, soon)
}

func TestRefusalWithTheGossipPortOpen(t *testing.T) {
	gossip, gossipAddr := listen(t)
	ln, addr := listen(t)
	server := &http.Server{Handler: answer("me")}
	served := make(chan error)
	go func() { served <- server.Serve(ln) }()
	target := Target{Key: Key{ID: "me", Addr: addr}, Kind: fleet.ProbeHTTP, Path: "/healthz", Gossip: gossipAddr}
	p := onRealSockets(t, true, target)
	await(t, p, target.Key, Good, 5*time.Second)
	server.Close()
	<-served
	t.Logf("refused after %v", await(t, p, target.Key, Refused, soon))
	gossip.Close()
	await(t, p, target.Key, Dead, 2*time.Second) // at the next probe
}

// A real server that closes idle connections, and each after an answer.
func TestRealServerThatClosesConnections(t *testing.T) {
	for name, configure := range map[string]func(*http.Server){
		"idle ones": func(s *http.Server) {
			s.IdleTimeout = 50 * time.Millisecond
			s.ReadHeaderTimeout = 50 * time.Millisecond
		},
		"all": func(s *http.Server) { s.SetKeepAlivesEnabled(false) },
	} {
		t.Run(name, func(t *testing.T) {
			ln, addr := listen(t)
			server := &http.Server{Handler: answer("")}
			configure(server)
			served := make(chan error)
			go func() { served <- server.Serve(ln) }()
			target := Target{Key: Key{Addr: addr}, Kind: fleet.ProbeHTTP, Path: "/"}
			p := onRealSockets(t, false, target)
			await(t, p, target.Key, Good, 5*time.Second)
			since := p.Evidence()[target.Key].Since
			time.Sleep(2 * time.Second)
			if e := p.Evidence()[target.Key]; e.Verdict != Good || !e.Since.Equal(since) {
				t.Errorf("%+v", e)
			}
			server.Close()
			<-served
		})
	}
}

// A prober that is stopped for longer than it takes to judge finds on waking that
// its connection was closed meanwhile, and gives no verdict.
func TestStoppedProberGivesNoVerdict(t *testing.T) {
	ln, addr := listen(t)
	server := &http.Server{Handler: answer(""), IdleTimeout: time.Second}
	served := make(chan error)
	go func() { served <- server.Serve(ln) }()
	prober := start(t, "prober", addr.String())
	if got := prober.line(t); got != string(Good) {
		t.Fatalf("%q", got)
	}
	for range 3 {
		prober.signal(t, syscall.SIGSTOP)
		time.Sleep(1500 * time.Millisecond)
		prober.signal(t, syscall.SIGCONT)
		time.Sleep(100 * time.Millisecond)
	}
	time.Sleep(time.Second)
	prober.signal(t, syscall.SIGTERM)
	var rest []string
	for prober.out.Scan() {
		rest = append(rest, prober.out.Text())
	}
	if !slices.Equal(rest, []string{"woke"}) {
		t.Errorf("it wrote %q", rest)
	}
	server.Close()
	<-served
}

// Empty packets to a UDP port: the kernel says that nothing listens, members ignore them.
func TestUDPPortIsUnreachableOnlyWhereNothingListens(t *testing.T) {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	port := conn.LocalAddr().(*net.UDPAddr).AddrPort()
	w := &watcher{loop: newLoop(t.Context(), New(Options{}))}
	if said := w.knockUDP(t.Context(), port); said != mute {
		t.Errorf("an open port says %v", said)
	}
	if n, _, err := conn.ReadFromUDPAddrPort(make([]byte, 1)); n != 0 || err != nil {
		t.Errorf("it received %d bytes (%v), want an empty packet", n, err)
	}
	conn.Close()
	if said := w.knockUDP(t.Context(), port); said != refuses {
		t.Errorf("a closed port says %v", said)
	}
}
