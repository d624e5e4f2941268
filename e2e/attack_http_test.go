package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/e2e/netns"
	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

func TestOversizedRequestsAreRefused(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.eds()
	for size, want := range map[int]int{60 << 10: http.StatusOK, 80 << 10: http.StatusRequestHeaderFieldsTooLarge} {
		if got := h.browses(http.MethodGet, "/members", "", "", map[string]string{"X-Large": strings.Repeat("x", size)}); got != want {
			t.Errorf("a header of %d bytes: status %d, want %d", size, got, want)
		}
	}
	large := `{"resource_names":["` + strings.Repeat("x", 1<<20) + `"]}`
	for method, path := range map[string]string{"PUT": "/edsservice/myservice", "PATCH": "/edsservice/myservice/hosts/10.0.0.1:80", "POST": "/v3/discovery:endpoints"} {
		if got := h.browses(method, path, large, "", nil); got != http.StatusRequestEntityTooLarge {
			t.Errorf("%s %s with a body above 1 MiB: status %d", method, path, got)
		}
	}
	h.request(http.StatusOK, http.MethodGet, "/members", "")
}

// began is a connection to the HTTP port that has said this, and says nothing more.
func (h *harness) began(say string) net.Conn {
	h.t.Helper()
	conn := must2(net.Dial("tcp", h.Addresses.HTTP))(h.t)
	h.t.Cleanup(func() { _ = conn.Close() })
	must2(conn.Write([]byte(say)))(h.t)
	return conn
}

// cutOff waits until the other side has closed conn.
func cutOff(conn net.Conn, d time.Duration) bool {
	_ = conn.SetReadDeadline(time.Now().Add(d))
	for buf := make([]byte, 1024); ; {
		if _, err := conn.Read(buf); err != nil {
			return !errors.Is(err, os.ErrDeadlineExceeded)
		}
	}
}

// A body may take 15 s, headers 5 s: of two that never come to an end, the body that
// began first is waited for when the headers are not any more.
func TestSlowHeadersAreCutOffBeforeASlowBody(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.eds()
	head := "PUT /edsservice/myservice HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
	body := h.began(head + "Content-Length: 100\r\n\r\n{")
	headers := h.began(head)
	if !cutOff(headers, patience) {
		t.Fatal("headers are waited for")
	}
	if cutOff(body, time.Millisecond) {
		t.Error("the headers took as long as a body may")
	}
	if !cutOff(body, patience) {
		t.Error("a body is waited for")
	}
}

func TestOneAddressHasSoManyConnectionsAndOthersAreServed(t *testing.T) {
	t.Parallel()
	const most = 50
	network := must2(netns.New(within(t, patience), 3))(t)
	t.Cleanup(func() { must(t, 0, network.Close()) })
	dir := t.TempDir()
	http8080, xds := net.JoinHostPort(network.Addr(0), "8080"), net.JoinHostPort(network.Addr(0), "18000")
	path, args := network.Command(0, binary, "eds", "--insecure", "--http", http8080, "--xds", xds, "--data-dir", dir, "--max-connections", fmt.Sprint(most))
	eds := must2(stage.Start(stage.Command{Name: "eds", Path: path, Args: args, LogFile: filepath.Join(dir, "log")}))(t)
	t.Cleanup(eds.Kill)
	other := &http.Client{Transport: &http.Transport{DialContext: network.Dialer(2)}}
	metrics := func(ctx context.Context) (string, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+http8080+"/metrics", nil)
		if err != nil {
			return "", err
		}
		resp, err := other.Do(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		return string(body), err
	}
	must(t, 0, eds.Await(within(t, patience), func(ctx context.Context) error {
		_, err := metrics(ctx)
		return err
	}))
	from := network.Dialer(1)
	for reason, addr := range map[string]string{"http_connections": http8080, "xds_connections": xds} {
		var open []net.Conn
		for range 2 * most {
			conn := must2(from(within(t, patience), "tcp", addr))(t)
			t.Cleanup(func() { _ = conn.Close() })
			open = append(open, conn)
		}
		for i, conn := range open[most:] {
			if !cutOff(conn, patience) {
				t.Fatalf("%s: connection %d is let in", addr, most+i)
			}
		}
		honest := must2(network.Dialer(2)(within(t, patience), "tcp", addr))(t)
		t.Cleanup(func() { _ = honest.Close() })
		if cutOff(honest, 300*time.Millisecond) {
			t.Errorf("%s: another address is cut off", addr)
		}
		want := fmt.Sprintf("rollcall_refused_total{reason=%q} %d\n", reason, most)
		if body := must2(metrics(within(t, patience)))(t); !strings.Contains(body, want) {
			t.Errorf("the metrics lack %s", want)
		}
	}
}
