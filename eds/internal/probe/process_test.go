package probe

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// roleEnv makes the test binary one of the processes that the tests play with.
const roleEnv = "PROBE_TEST_ROLE"

func TestMain(m *testing.M) {
	role, arg, _ := strings.Cut(os.Getenv(roleEnv), " ")
	var err error
	switch role {
	case "":
		// With several processors the race detector of Go 1.26 crashes now and then
		// where a bubble has many timers; with one it finds the same races.
		runtime.GOMAXPROCS(1)
		goleak.VerifyTestMain(m)
	case "member":
		err = beMember(arg)
	case "servers":
		err = beServers(arg)
	case "prober":
		err = beProber(arg)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// process is a child in one of the roles.
type process struct {
	*exec.Cmd
	out *bufio.Scanner
}

// start starts a child that ends with the test.
func start(t testing.TB, role, arg string) *process {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"="+role+" "+arg)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe() // a child ends when its standard input does
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
	return &process{cmd, bufio.NewScanner(stdout)}
}

// line returns the next line that the child writes.
func (p *process) line(t testing.TB) string {
	t.Helper()
	if !p.out.Scan() {
		t.Fatalf("%s ended: %v", os.Args[0], p.out.Err())
	}
	return p.out.Text()
}

func (p *process) signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := p.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

// untilStdinEnds returns when the parent does, or lets go.
func untilStdinEnds() { io.Copy(io.Discard, os.Stdin) }

// startMember starts a child that serves and gossips, as far as a probe can see.
func startMember(t testing.TB, id string) (*process, Target) {
	t.Helper()
	p := start(t, "member", id)
	var port, gossip netip.AddrPort
	for _, to := range []*netip.AddrPort{&port, &gossip} {
		addr, err := netip.ParseAddrPort(p.line(t))
		if err != nil {
			t.Fatal(err)
		}
		*to = addr
	}
	return p, Target{Key: Key{ID: id, Addr: port}, Kind: fleet.ProbeHTTP, Path: "/healthz", Gossip: gossip}
}

// beMember is a member as hard to judge as it can be: when it is killed, the
// kernel closes first the connections that it accepted, then its port, then its
// gossip port, for it closes files in the order of their numbers.
func beMember(id string) error {
	var low []*os.File
	for range 16 {
		f, err := os.Open(os.DevNull)
		if err != nil {
			return err
		}
		low = append(low, f)
	}
	serving, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	gossip, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	for _, f := range low {
		f.Close()
	}
	go hold(gossip)
	go http.Serve(serving, answer(id))
	fmt.Printf("%s\n%s\n", serving.Addr(), gossip.Addr())
	untilStdinEnds()
	return nil
}

// hold accepts and says nothing.
func hold(ln net.Listener) {
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			io.Copy(io.Discard, conn)
			conn.Close()
		}()
	}
}

func answer(id string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(fleet.IDHeader, id)
		io.WriteString(w, "ok")
	})
}

// beServers serves at many ports, as cheaply as it can.
func beServers(arg string) error {
	n, err := strconv.Atoi(arg)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(os.Stdout)
	for range n {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		go serveCheaply(ln)
		fmt.Fprintln(out, ln.Addr())
	}
	if err := out.Flush(); err != nil {
		return err
	}
	untilStdinEnds()
	return nil
}

// serveCheaply takes each packet for a request.
func serveCheaply(ln net.Listener) {
	response := []byte("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: text/plain; charset=utf-8\r\n" +
		"Date: Thu, 01 Jan 2026 00:00:00 GMT\r\n" + fleet.IDHeader + ": me\r\n\r\nok")
	for {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			buf := make([]byte, 512)
			for {
				if _, err := conn.Read(buf); err != nil {
					return
				}
				if _, err := conn.Write(response); err != nil {
					return
				}
			}
		}()
	}
}

// beProber probes the address it is given and writes each verdict, and that it woke.
func beProber(arg string) error {
	addr, err := netip.ParseAddrPort(arg)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	p := New(Options{})
	p.Watch([]Target{{Key: Key{Addr: addr}, Kind: fleet.ProbeHTTP, Path: "/"}})
	go func() {
		untilStdinEnds()
		stop()
	}()
	go p.Run(ctx)
	var last Verdict
	woke := false
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-p.Changed():
		}
		for _, e := range p.Evidence() {
			if e.Verdict != last {
				last = e.Verdict
				fmt.Println(last)
			}
		}
		if !woke && !p.Woke().IsZero() {
			woke = true
			fmt.Println("woke")
		}
	}
}
