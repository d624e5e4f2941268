package eds

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/gossip"
)

// Polls are held for longer than the HTTP server's stop may take.
func TestStoppingServerAnswersOpenPolls(t *testing.T) {
	free := netip.MustParseAddrPort("127.0.0.1:0")
	s := newServer(Options{
		HTTP: free, XDS: free, Gossip: free, DataDir: t.TempDir(), Profile: gossip.LAN, Logger: slog.New(slog.DiscardHandler),
	})
	for _, step := range []func() error{s.open, s.join, s.connect, s.start} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	poll := func(version string) (status int, body string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+s.has.http.Addr().String()+"/v3/discovery:endpoints",
			strings.NewReader(fmt.Sprintf(`{"node":{"id":"a"},"resource_names":["web"],"version_info":%q}`, version)))
		if err != nil {
			t.Error(err)
			return 0, ""
		}
		req.Header.Set("x-envoy-expected-rq-timeout-ms", "10000")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Error(err)
			return 0, ""
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	var version string
	for deadline := time.Now().Add(30 * time.Second); version == ""; time.Sleep(10 * time.Millisecond) {
		if _, body := poll(""); strings.Contains(body, `"version_info":"`) {
			_, version, _ = strings.Cut(body, `"version_info":"`)
			version, _, _ = strings.Cut(version, `"`)
		}
		if time.Now().After(deadline) {
			t.Fatal("it has not settled")
		}
	}
	answered := make(chan int, 1)
	go func() {
		status, _ := poll(version)
		answered <- status
	}()
	select {
	case status := <-answered:
		t.Fatalf("it is answered %d at once", status)
	case <-time.After(time.Second): // it is held for five
	}
	began := time.Now()
	stopped := make(chan error, 1)
	go func() { stopped <- s.stops.stop() }()
	if status := <-answered; status != http.StatusNotModified || time.Since(began) > httpStop/2 {
		t.Errorf("it is answered %d after %s", status, time.Since(began))
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	http.DefaultClient.CloseIdleConnections()
}
