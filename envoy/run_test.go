package envoy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

var anyPort = netip.MustParseAddrPort("127.0.0.1:0")

// running is an Envoy under Run, with both its ports picked by the kernel.
type running struct {
	admin  string      // its URL
	ready  chan string // the address that Ready was told
	stop   context.CancelFunc
	ended  chan error
	stdout bytes.Buffer // read it after ended
}

var adminLine = regexp.MustCompile(`admin address: (\S+)`)

// start runs a real Envoy and waits until its admin port is open.
func start(t *testing.T, o Options) *running {
	t.Helper()
	o.Listener, o.Admin = anyPort, anyPort
	boot, err := Bootstrap(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("TMPDIR", t.TempDir())
	ctx, stop := context.WithCancel(t.Context())
	r := &running{stop: stop, ready: make(chan string, 1), ended: make(chan error, 1)}
	log, w := io.Pipe()
	opts := RunOptions{Path: realEnvoy(t), Bootstrap: boot, Stdout: &r.stdout, Stderr: w, LogLevel: "info", Ready: func(admin string) { r.ready <- admin }}
	go func() {
		err := Run(ctx, opts)
		w.Close()
		r.ended <- err
	}()
	address := make(chan string, 1)
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		for lines := bufio.NewScanner(log); lines.Scan(); {
			if m := adminLine.FindStringSubmatch(lines.Text()); m != nil {
				address <- m[1]
			}
		}
	}()
	t.Cleanup(func() { stop(); <-drained })
	select {
	case a := <-address:
		r.admin = "http://" + a
	case err := <-r.ended:
		t.Fatalf("envoy ended: %v", err)
	case <-time.After(30 * time.Second):
		t.Fatal("no admin port within 30 s")
	}
	return r
}

// get returns the status, the headers and the body of a GET.
func get(t *testing.T, url, host string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Host, req.Close = host, true
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, res.Header, string(body)
}

func (r *running) awaitReady(t *testing.T) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		status, _, body := get(t, r.admin+"/ready", "")
		if status == http.StatusOK {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not ready within 30 s: %d %s", status, body)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// listener returns the URL of the one listener.
func (r *running) listener(t *testing.T) string {
	t.Helper()
	_, _, body := get(t, r.admin+"/listeners?format=json", "")
	var list struct {
		Statuses []struct {
			Local struct {
				Socket struct {
					Address string `json:"address"`
					Port    int    `json:"port_value"`
				} `json:"socket_address"`
			} `json:"local_address"`
		} `json:"listener_statuses"`
	}
	if err := json.Unmarshal([]byte(body), &list); err != nil || len(list.Statuses) != 1 {
		t.Fatalf("listeners %s (%v)", body, err)
	}
	socket := list.Statuses[0].Local.Socket
	return fmt.Sprintf("http://%s:%d/", socket.Address, socket.Port)
}

func (r *running) awaitEnd(t *testing.T) error {
	t.Helper()
	select {
	case err := <-r.ended:
		return err
	case <-time.After(30 * time.Second):
		t.Fatal("Run did not return within 30 s")
		return nil
	}
}

// No process listens there.
var noServer = []string{"127.0.0.1:1"}

func TestEnvoyOpensWithoutAServerAndStopsWhenTold(t *testing.T) {
	for _, api := range APIs() {
		t.Run(string(api), func(t *testing.T) {
			r := start(t, Options{
				API: api, EDS: noServer, Services: []string{"first", "second"},
				InitialFetchTimeout: 100 * time.Millisecond, AccessLog: true,
			})
			select {
			case admin := <-r.ready:
				if "http://"+admin != r.admin {
					t.Errorf("it is ready at %s, its admin interface is at %s", admin, r.admin)
				}
			case <-time.After(30 * time.Second):
				t.Fatal("it was not ready within 30 s")
			}
			if status, _, _ := get(t, r.admin+"/ready", ""); status != http.StatusOK {
				t.Errorf("called ready it says %d", status)
			}
			url := r.listener(t)
			for _, host := range []string{"", "first", "second", "SECOND:8080"} {
				status, header, body := get(t, url, host)
				if status != http.StatusServiceUnavailable || body != "no healthy upstream" || header.Get("Server") != "envoy" {
					t.Errorf("host %q: %d %q from %q", host, status, body, header.Get("Server"))
				}
			}
			for _, want := range []string{"cluster.service_backend.upstream_cx_none_healthy: 2\n", "cluster.second.upstream_cx_none_healthy: 2\n"} {
				if _, _, stats := get(t, r.admin+"/stats?filter=upstream_cx_none_healthy", ""); !strings.Contains(stats, want) {
					t.Errorf("stats %s, want %s", stats, want)
				}
			}
			r.stop()
			if err := r.awaitEnd(t); err != nil {
				t.Errorf("stopped with %v", err)
			}
			if lines := strings.Count(r.stdout.String(), "\n"); lines != 4 {
				t.Errorf("%d lines of access log: %s", lines, r.stdout.String())
			}
			if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
				t.Errorf("temporary files left: %v, %v", left, err)
			}
		})
	}
}

func TestListenerStaysClosedUntilTheInitialFetchTimeout(t *testing.T) {
	r := start(t, Options{API: GRPC, EDS: noServer, InitialFetchTimeout: time.Hour})
	if status, _, body := get(t, r.admin+"/ready", ""); status != http.StatusServiceUnavailable {
		t.Errorf("ready says %d %s before a server has answered", status, body)
	}
	r.stop()
	if err := r.awaitEnd(t); err != nil || len(r.ready) > 0 {
		t.Errorf("it was called ready %d times and stopped with %v", len(r.ready), err)
	}
}

func TestEnvoysRunSideBySide(t *testing.T) {
	o := Options{API: ADS, EDS: noServer, InitialFetchTimeout: 100 * time.Millisecond}
	one, two := start(t, o), start(t, o)
	one.awaitReady(t)
	two.awaitReady(t)
	one.stop()
	if err := one.awaitEnd(t); err != nil {
		t.Errorf("the first stopped with %v", err)
	}
	two.awaitReady(t)
}

func TestRunReportsTheCodeOfAnEnvoyThatFails(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bad.yaml")
	if err := os.WriteFile(file, []byte("no_such_field: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	err := Run(t.Context(), RunOptions{Path: realEnvoy(t), BootstrapFile: file, Stderr: &log})
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok || exit.ExitCode() != 1 || !strings.Contains(err.Error(), "exit status 1") {
		t.Errorf("error %v, want exit status 1", err)
	}
	if !strings.Contains(log.String(), "no_such_field") {
		t.Errorf("the log does not say why: %s", log.String())
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("the caller's file is gone: %v", err)
	}
}

// A deafened program stands in, since Envoy itself obeys.
func TestRunKillsAProgramThatDoesNotStop(t *testing.T) {
	t.Setenv(asProgram, "deaf")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &firstWrite{then: cancel} // it ignores SIGTERM from here on
	began := time.Now()
	err = Run(ctx, RunOptions{Path: self, Bootstrap: []byte("{}"), Stdout: out, StopTimeout: 50 * time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "did not stop within 50ms") {
		t.Errorf("error %v, want one that says it did not stop", err)
	}
	if took := time.Since(began); took > 30*time.Second {
		t.Errorf("took %s", took)
	}
}

type firstWrite struct{ then func() }

func (w *firstWrite) Write(p []byte) (int, error) { w.then(); return len(p), nil }

func TestRunRefusesBadOptions(t *testing.T) {
	yaml := []byte("{}")
	tests := []struct {
		name string
		o    RunOptions
		want string
	}{
		{"no binary", RunOptions{Bootstrap: yaml}, "no binary"},
		{"no bootstrap", RunOptions{Path: "envoy"}, "either a bootstrap or a bootstrap file"},
		{"two bootstraps", RunOptions{Path: "envoy", Bootstrap: yaml, BootstrapFile: "f"}, "either a bootstrap or a bootstrap file"},
		{"log level", RunOptions{Path: "envoy", Bootstrap: yaml, LogLevel: "loud"}, `log level "loud" is none of trace`},
		{"stop timeout", RunOptions{Path: "envoy", Bootstrap: yaml, StopTimeout: -1}, "stop timeout"},
		{"binary that is not there", RunOptions{Path: "/no/such/envoy", Bootstrap: yaml}, "start envoy"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if err := Run(t.Context(), tt.o); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}
