package upstream

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Between two pools nobody hears that the server drains, but its answers say so, and
// it serves until the drain timeout is over.
func TestAStopBetweenTwoPoolsServesAWhile(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	const enough = 2 * time.Second
	r, err := Register(t.Context(), ln, Service{Name: "shop"}, WithDrainTimeout(enough))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.pool.Load().Close(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- r.Serve(ctx, &http.Server{}) }()
	stop()
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		resp, err := http.Get("http://" + ln.Addr().String() + "/healthz")
		if err != nil {
			t.Fatalf("it stopped serving: %v", err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusServiceUnavailable {
			break
		}
		if time.Since(began) > enough/2 {
			t.Fatalf("its health is %s still", resp.Status)
		}
	}
	http.DefaultClient.CloseIdleConnections()
	if err := <-served; err == nil || !strings.Contains(err.Error(), "gossip pool is closed") {
		t.Errorf("Serve = %v", err)
	}
}
