package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
	"github.com/rollcall-fleet/rollcall/upstream"
)

// upgraderEnv makes the test binary a program that uses the library and upgrades
// connections: the address to serve, the seed, the pool and the shutdown timeout.
const upgraderEnv = "ROLLCALL_E2E_UPGRADER"

// playUpgrader reports whether this process is one. It serves until SIGTERM.
func playUpgrader() bool {
	values := strings.Split(os.Getenv(upgraderEnv), ",")
	if len(values) != 4 {
		return false
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	timeout, _ := time.ParseDuration(values[3])
	err := upstream.ListenAndServe(ctx, &http.Server{Addr: values[0], Handler: http.HandlerFunc(echo)}, upstream.Service{Name: "myservice"},
		upstream.WithSeeds(values[1]), upstream.WithFleet(values[2]), upstream.WithShutdownTimeout(timeout),
		upstream.WithLogger(slog.New(slog.NewTextHandler(os.Stderr, nil))))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

// echo upgrades where it is asked to, and sends back what it is sent from then on.
func echo(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") == "" {
		io.WriteString(w, "plain")
		return
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
	io.Copy(conn, rw)
}

func (h *harness) upgrader(shutdown time.Duration) *stage.Process {
	h.t.Helper()
	env := fmt.Sprintf("%s=%s,%s,%s,%s", upgraderEnv, stage.Local(must2(stage.FreePort())(h.t)), h.Addresses.Gossip, h.Pool, shutdown)
	p := must2(stage.Start(stage.Command{
		Name: "upgrader", Path: must2(os.Executable())(h.t), Env: []string{env}, LogFile: filepath.Join(h.t.TempDir(), "log"),
	}))(h.t)
	h.t.Cleanup(p.Kill)
	h.answers(http.StatusOK, "plain")
	return p
}

// websocket is a client's upgraded connection through Envoy.
type websocket struct {
	net.Conn
	r *bufio.Reader
}

func (h *harness) websocket() websocket {
	h.t.Helper()
	conn := must2(net.Dial("tcp", h.Addresses.Listener))(h.t)
	h.t.Cleanup(func() { conn.Close() })
	ws := websocket{conn, bufio.NewReader(conn)}
	_ = conn.SetDeadline(time.Now().Add(patience))
	must2(io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"))(h.t)
	resp := must2(http.ReadResponse(ws.r, nil))(h.t)
	if resp.StatusCode != http.StatusSwitchingProtocols {
		h.t.Fatalf("the upgrade is answered with %s", resp.Status)
	}
	must(h.t, 0, ws.echoes())
	return ws
}

func (ws websocket) echoes() error {
	if _, err := io.WriteString(ws, "x"); err != nil {
		return err
	}
	_, err := ws.r.ReadByte()
	return err
}

// upgradingEnvoy starts an Envoy that passes websockets on.
func (h *harness) upgradingEnvoy() {
	h.t.Helper()
	boot := h.bootstrap("grpc", "--no-retries")
	listener := boot.static()["listeners"].([]any)[0].(map[string]any)
	filter := listener["filter_chains"].([]any)[0].(map[string]any)["filters"].([]any)[0].(map[string]any)
	filter["typed_config"].(map[string]any)["upgrade_configs"] = []any{map[string]any{"upgrade_type": "websocket"}}
	h.ownEnvoy(h.write("upgrading.yaml", boot))
}

// SIGTERM does not cut off what would end by itself within the shutdown timeout.
func TestAWebsocketIsWaitedForWhenItsServerStops(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.eds()
	h.upgradingEnvoy()
	p := h.upgrader(time.Minute)
	ws := h.websocket()
	must(t, 0, p.Signal(syscall.SIGTERM))
	h.answers(http.StatusServiceUnavailable, "no healthy upstream") // it has drained
	for end := time.Now().Add(4 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err := ws.echoes(); err != nil {
			t.Fatalf("the websocket is cut off: %v", err)
		}
	}
	select {
	case <-p.Done():
		t.Fatal("the server has ended")
	default:
	}
	must(t, 0, ws.Close())
	must(t, 0, p.Wait(within(t, patience)))
}

func TestWebsocketsAreCutOffAfterTheShutdownTimeout(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.eds()
	h.upgradingEnvoy()
	p := h.upgrader(3 * time.Second)
	first, second := h.websocket(), h.websocket()
	began := time.Now()
	must(t, 0, p.Signal(syscall.SIGTERM))
	_ = p.Wait(within(t, patience))
	if took := time.Since(began); took < 3*time.Second || p.ExitCode() != 1 {
		t.Errorf("it ended after %s with %d, want 1 after 3 s", took, p.ExitCode())
	}
	logs(t, p, "still open 3s after the drain, and cut off: 0 connections with requests, 2 upgraded connections")
	if first.echoes() == nil || second.echoes() == nil {
		t.Error("a websocket is still open")
	}
}
