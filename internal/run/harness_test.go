package run_test

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip"
	"github.com/rollcall-fleet/rollcall/internal/run"
	"github.com/rollcall-fleet/rollcall/upstream"
)

// patience bounds each wait; what is waited for takes a second at most.
const patience = 30 * time.Second

// asProgram names the environment variable by which the test binary acts as a program.
const asProgram = "TEST_TEST_PROGRAM"

// TestMain fails when any test leaves a goroutine behind. A probe of memberlist's
// that was under way at the shutdown may go on for some seconds.
func TestMain(m *testing.M) {
	if what := os.Getenv(asProgram); what != "" {
		os.Exit(play(what, os.Args[1:]))
	}
	code := m.Run()
	var leak error
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if leak = goleak.Find(); leak == nil {
			break
		}
	}
	if leak != nil {
		fmt.Fprintln(os.Stderr, leak)
		code = max(code, 1)
	}
	os.Exit(code)
}

// play is the other side: it prints what happens to it, a line each.
func play(what string, args []string) int {
	switch what {
	case "server", "deaf server":
		return playServer(args[0], what == "deaf server")
	case "runner": // of the server at an address
		o := run.Options{Endpoint: endpoint(netip.MustParseAddrPort(args[0]), "tcp"), Program: []string{os.Args[0], args[0]}, Stdout: os.Stdout}
		os.Setenv(asProgram, "server")
		code, err := run.Run(context.Background(), o)
		fmt.Fprintln(os.Stderr, err)
		return code
	}
	return 99
}

// playServer serves until SIGTERM. It is healthy until it is asked for /sicken,
// and ends with the code of /exit?code.
func playServer(addr string, deaf bool) int {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGINT, syscall.SIGTERM)
	var sick atomic.Bool
	http.HandleFunc("/sicken", func(http.ResponseWriter, *http.Request) { sick.Store(true) })
	http.HandleFunc("/heal", func(http.ResponseWriter, *http.Request) { sick.Store(false) })
	http.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		if sick.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	http.HandleFunc("/exit", func(_ http.ResponseWriter, req *http.Request) {
		code, _ := strconv.Atoi(req.URL.RawQuery)
		os.Exit(code)
	})
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		fmt.Println(err)
		return 98
	}
	go http.Serve(ln, nil)
	fmt.Println("started", os.Getpid())
	for s := range signals {
		fmt.Println(s)
		if s == syscall.SIGTERM && !deaf {
			return 0
		}
	}
	return 97
}

func endpoint(addr netip.AddrPort, health string, pool ...upstream.Option) run.Endpoint {
	h, err := run.ParseHealth(health, addr)
	if err != nil {
		panic(err)
	}
	return run.Endpoint{
		Address: addr, Service: upstream.Service{Name: "shop"}, Health: h,
		HealthInterval: 20 * time.Millisecond, HealthTimeout: 5 * time.Second, Pool: pool,
	}
}

// running is a Run in progress.
type running struct {
	signals chan os.Signal
	lines   chan string // of the program's output
	code    int         // after ended
	ended   chan error
	log     *logLines
}

// start runs the program called what of the test binary at addr, unless o has a program.
func start(t *testing.T, what string, o run.Options) *running {
	t.Helper()
	if len(o.Program) == 0 {
		o.Program = []string{"env", asProgram + "=" + what, os.Args[0], o.Address.String()}
	}
	r := &running{signals: make(chan os.Signal, 8), lines: make(chan string, 100), ended: make(chan error, 1), log: &logLines{}}
	out, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	o.Signals, o.Stdout, o.Stderr = r.signals, w, w
	o.Logger = slog.New(slog.NewTextHandler(r.log, nil))
	ctx, cancel := context.WithCancel(t.Context())
	read, over := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(read)
		for s := bufio.NewScanner(out); s.Scan(); {
			r.lines <- s.Text()
		}
	}()
	go func() {
		defer close(over)
		var err error
		r.code, err = run.Run(ctx, o)
		w.Close()
		r.ended <- err
	}()
	t.Cleanup(func() {
		cancel()
		receive(t, over, "Run's end")
		receive(t, read, "the end of the output") // which the whole group of the program has open
		out.Close()
		if t.Failed() {
			t.Log(r.log)
		}
	})
	return r
}

// logLines keeps the log, which may go on after the test.
type logLines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// started returns the process id that the program prints at its start.
func (r *running) started(t *testing.T) int {
	t.Helper()
	line := receive(t, r.lines, "the program's start")
	return atoi(t, strings.TrimPrefix(line, "started "))
}

func atoi(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// joins waits until the registration knows the observer too: the observer does not notice a
// member that leaves while it joins.
func (r *running) joins(t *testing.T) {
	t.Helper()
	for end := time.Now().Add(patience); !strings.Contains(r.log.String(), "joined the pool"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it does not join the pool")
		}
	}
}

func (r *running) says(t *testing.T, want string) {
	t.Helper()
	if line := receive(t, r.lines, want); line != want {
		t.Fatalf("the program says %q, want %q", line, want)
	}
}

// ends waits for Run's end.
func (r *running) ends(t *testing.T, code int, want string) {
	t.Helper()
	err := receive(t, r.ended, "Run's end")
	if r.code != code || (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
		t.Errorf("Run = %d, %v, want %d and an error with %q", r.code, err, code, want)
	}
}

// observer is another member of the pool, and the seed of the programs.
type observer struct{ *gossip.Pool }

func observe(t *testing.T) observer {
	t.Helper()
	pool, err := gossip.Start(gossip.Options{
		Member: fleet.Member{ID: uuid.New(), Role: fleet.RoleEDS, Started: time.Now()},
		Bind:   netip.MustParseAddrPort("127.0.0.1:0"), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pool.Close() })
	return observer{pool}
}

func (o observer) seed() upstream.Option { return upstream.WithSeeds(o.Self().Gossip.String()) }

// await returns the only upstream in the pool once it matches.
func (o observer) await(t *testing.T, what string, wanted func(fleet.Member) bool) fleet.Member {
	t.Helper()
	timeout := time.After(patience)
	for {
		upstreams := slices.DeleteFunc(slices.Clone(o.Members()), func(m *fleet.Member) bool { return m.Role != fleet.RoleUpstream })
		if len(upstreams) > 1 {
			t.Fatalf("there are %d upstreams", len(upstreams))
		}
		if len(upstreams) == 1 && wanted(*upstreams[0]) {
			return *upstreams[0]
		}
		select {
		case <-o.Changed():
		case <-timeout:
			t.Fatalf("no upstream is %s: %+v", what, upstreams)
		}
	}
}

func is(health fleet.Health) func(fleet.Member) bool {
	return func(m fleet.Member) bool { return m.Liveness == fleet.Alive && m.Endpoint.Health == health }
}

func left(m fleet.Member) bool { return m.Liveness == fleet.Left }

// lastPort was given out last. The kernel picks ports above those for listeners
// and connections of other tests.
var lastPort atomic.Uint32

func init() { lastPort.Store(20000 + uint32(os.Getpid()%5000)*2) }

// unused returns an address without a listener, on which none will start by chance.
func unused(t *testing.T) netip.AddrPort {
	t.Helper()
	for range 100 {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), uint16(lastPort.Add(1)))
		if ln, err := net.Listen("tcp", addr.String()); err == nil {
			ln.Close()
			return addr
		}
	}
	t.Fatal("no port is free")
	panic("not reached")
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", unused(t).String())
	if err != nil {
		t.Fatal(err)
	}
	return ln
}

// get sends the program at addr a request.
func get(t *testing.T, addr netip.AddrPort, path string) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr.String()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

// gone waits until the process pid no longer exists.
func gone(t *testing.T, pid int) {
	t.Helper()
	for end := time.Now().Add(patience); syscall.Kill(pid, 0) == nil && !zombie(pid); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("process %d is still there", pid)
		}
	}
}

// zombie reports whether pid has ended but was not reaped by its parent.
func zombie(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(stat), ") Z ")
}

func receive[T any](t *testing.T, c <-chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatalf("%s is still missing", what)
		panic("not reached")
	}
}
