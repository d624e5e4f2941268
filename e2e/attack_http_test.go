package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/envoy"
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
	h := newHarness(t)
	h.eds("--max-connections", fmt.Sprint(most))
	h.envoy(envoy.GRPC, "--no-retries")
	one := h.upstream()
	h.serves(one)
	load := h.load()

	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 9)}}
	for reason, addr := range map[string]string{"http_connections": h.Addresses.HTTP, "xds_connections": h.Addresses.XDS} {
		var open []net.Conn
		for range 2 * most {
			conn := must2(from.DialContext(within(t, patience), "tcp", addr))(t)
			t.Cleanup(func() { _ = conn.Close() })
			open = append(open, conn)
		}
		for i, conn := range open[most:] {
			if !cutOff(conn, patience) {
				t.Fatalf("%s: connection %d is let in", addr, most+i)
			}
		}
		metric := fmt.Sprintf("rollcall_refused_total{reason=%q}", reason)
		if n := must2(h.metric(within(t, patience), metric))(t); n != most {
			t.Errorf("%s is %v, want %d", metric, n, most)
		}
	}
	h.decide(200, "PATCH", one.ID, `{"load_balancing_weight":7}`)
	h.weights(one, 7)
	two := h.upstream()
	h.serves(one, two)
	h.isUnderWay(load)
	h.noneFailed(load)
}
