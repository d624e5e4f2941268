package run_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/internal/run"
)

func TestTheEDSServerProbesWhatItCan(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]fleet.Probe{
		"/ready?deep=1":            {Kind: fleet.ProbeHTTP, Path: "/ready?deep=1"},
		"tcp":                      {Kind: fleet.ProbeTCP},
		"grpc":                     {Kind: fleet.ProbeNone},
		"exec:true":                {Kind: fleet.ProbeNone},
		"http://127.0.0.1:1/ready": {Kind: fleet.ProbeNone},
		"https://example.org":      {Kind: fleet.ProbeNone},
	} {
		h, err := run.ParseHealth(s, netip.MustParseAddrPort("127.0.0.1:9"))
		if err != nil || h.Probe != want {
			t.Errorf("%s: probe %+v, %v, want %+v", s, h.Probe, err, want)
		}
	}
}

func TestAHealthCheckThatIsNoneIsRefused(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"":            `"": want /path, a URL, tcp`,
		"healthz":     ": want /path",
		"http://":     ": want /path",
		"ftp://h/x":   ": want /path",
		"tcp:80":      ": want /path",
		"exec: ":      "names no command",
		"http://%zz/": ": want /path",
	} {
		if _, err := run.ParseHealth(s, netip.MustParseAddrPort("127.0.0.1:9")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", s, err, want)
		}
	}
}

// check runs the check s of addr once; "" is healthy.
func check(t *testing.T, s string, addr netip.AddrPort) string {
	t.Helper()
	h, err := run.ParseHealth(s, addr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := h.Check(ctx); err != nil {
		return err.Error()
	}
	return ""
}

func wantCheck(t *testing.T, s string, addr netip.AddrPort, want string) {
	t.Helper()
	if got := check(t, s, addr); (got == "") != (want == "") || !strings.Contains(got, want) {
		t.Errorf("%s: %q, want %q", s, got, want)
	}
}

func TestHTTPIsHealthyWhenItAnswers2xx(t *testing.T) {
	t.Parallel()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		switch req.URL.Path {
		case "/none":
			w.WriteHeader(http.StatusNoContent)
		case "/moved":
			http.Redirect(w, req, "/fine", http.StatusFound)
		case "/bad":
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	defer srv.Close()
	addr := srv.Listener.Addr().(*net.TCPAddr).AddrPort()
	for path, want := range map[string]string{"/fine?x=1": "", "/none": "", "/moved": "302 Found", "/bad": "500 Internal"} {
		wantCheck(t, path, addr, want)
		wantCheck(t, srv.URL+path, unused(t), want)
	}
	wantCheck(t, "/", unused(t), "refused")
}

func TestTCPIsHealthyWhenItAccepts(t *testing.T) {
	t.Parallel()
	ln := listen(t)
	addr := ln.Addr().(*net.TCPAddr).AddrPort()
	wantCheck(t, "tcp", addr, "")
	ln.Close()
	wantCheck(t, "tcp", addr, "refused")
}

func TestGRPCIsHealthyWhenItIsServing(t *testing.T) {
	t.Parallel()
	ln := listen(t)
	addr := ln.Addr().(*net.TCPAddr).AddrPort()
	srv, state := grpc.NewServer(), health.NewServer()
	healthgrpc.RegisterHealthServer(srv, state)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	wantCheck(t, "grpc", addr, "")
	state.SetServingStatus("", healthgrpc.HealthCheckResponse_NOT_SERVING)
	wantCheck(t, "grpc", addr, "reports NOT_SERVING")
	state.SetServingStatus("", healthgrpc.HealthCheckResponse_SERVING)
	wantCheck(t, "grpc", addr, "")
	srv.Stop()
	receive(t, served, "the server's end")
	wantCheck(t, "grpc", addr, "refused")
}

func TestACommandIsHealthyWhenItEndsWith0(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1000) + "the end"
	for s, want := range map[string]string{
		"exec:test 1 = 1 && true":               "",
		"exec:echo no database >&2; exit 3":     "exit status 3: no database",
		"exec:exit 4":                           "exit status 4",
		"exec:echo '" + long + "'; no-such-cmd": "exit status 127",
	} {
		wantCheck(t, s, unused(t), want)
	}
	if got := check(t, "exec:printf '"+long+"'; exit 1 #", unused(t)); !strings.HasSuffix(got, "the end") {
		t.Errorf("what the command said at its end is missing in %q", got)
	}
}

// It inherits standard output, and would run on.
func TestWhatACommandLeavesBehindIsEndedAndItsExitCodeCounts(t *testing.T) {
	t.Parallel()
	for _, code := range []int{0, 3} {
		file := filepath.Join(t.TempDir(), "pid")
		want := ""
		if code != 0 {
			want = fmt.Sprintf("exit status %d: bad", code)
		}
		began := time.Now()
		wantCheck(t, fmt.Sprintf("exec:sleep 1000 & echo $! >%s; echo bad; exit %d", file, code), netip.AddrPort{}, want)
		if took := time.Since(began); took > patience/2 {
			t.Errorf("it took %s", took)
		}
		pid, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		gone(t, atoi(t, strings.TrimSpace(string(pid))))
	}
}

// It has left the process group and keeps the pipe.
func TestADaemonThatACommandStartsHoldsUpNoCheck(t *testing.T) {
	t.Parallel()
	wantCheck(t, "exec:setsid sleep 3 & exit 0", netip.AddrPort{}, "")
}

func TestACommandThatTakesTooLongIsEndedWithItsChildren(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "pid")
	h, err := run.ParseHealth("exec:sleep 1000 & echo $! >"+file+".new; mv "+file+".new "+file+"; wait", netip.AddrPort{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	checked := make(chan error, 1)
	go func() { checked <- h.Check(ctx) }()
	var pid []byte
	for end := time.Now().Add(patience); len(pid) == 0; time.Sleep(10 * time.Millisecond) {
		if pid, _ = os.ReadFile(file); time.Now().After(end) {
			t.Fatal("the command does not start")
		}
	}
	cancel()
	if err := receive(t, checked, "the check's end"); err == nil || !strings.Contains(err.Error(), "context canceled") {
		t.Errorf("Check = %v", err)
	}
	gone(t, atoi(t, strings.TrimSpace(string(pid))))
}
