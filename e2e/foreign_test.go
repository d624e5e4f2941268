package e2e

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// takeOver serves at a killed upstream's port as a program does that knows nothing of
// rollcall, and counts the requests for / that it gets.
func takeOver(t *testing.T, port int) *atomic.Int32 {
	t.Helper()
	var lc net.ListenConfig
	var ln net.Listener
	err := stage.Eventually(within(t, patience), func(ctx context.Context) (err error) {
		ln, err = lc.Listen(ctx, "tcp", stage.Local(port))
		return err
	})
	must(t, 0, err)
	var requests atomic.Int32
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/" {
			requests.Add(1)
		}
		_, _ = w.Write([]byte("another program"))
	})}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(ln) }()
	t.Cleanup(func() {
		_ = srv.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return &requests
}

func TestProgramOnADeadUpstreamsPortIsNeverServed(t *testing.T) {
	for _, profile := range []string{"lan", "wan"} {
		t.Run(profile, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			h.eds("--profile", profile)
			a, b, c := h.upstream("--profile", profile), h.upstream("--profile", profile), h.upstream("--profile", profile)
			h.envoy("grpc")
			h.serves(a, b, c)
			load := h.load()
			c.Kill()
			h.letsGoOf(c) // which takes milliseconds; it must not come back
			requests := takeOver(t, c.Port)
			time.Sleep(5 * time.Second) // with lan gossip notices the death meanwhile, with wan it does not
			h.noneFailed(load)
			if n := requests.Load(); n > 0 {
				t.Errorf("it got %d requests", n)
			}
			h.serves(a, b)
		})
	}
}

func TestUpstreamOfAnotherServiceOnADeadOnesPortIsNeverServed(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.eds("--profile", "wan")
	a, b := h.upstream("--profile", "wan"), h.upstream("--profile", "wan")
	h.envoy("grpc")
	h.serves(a, b)
	load := h.load()
	b.Kill()
	h.letsGoOf(b)
	other := must2(h.Upstream(within(t, patience), b.Port, "--profile", "wan", "--service", "other"))(t)
	time.Sleep(3 * time.Second)
	for _, answer := range h.noneFailed(load) {
		if answer.ID() == other.ID {
			t.Fatal("an upstream of another service answered")
		}
	}
	h.serves(a)
}
