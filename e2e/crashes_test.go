package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// Every upstream of a service crashes at once and is started again on its port, seven times in
// a row: damping must not keep a service empty that could serve.
func TestCrashesInARowDoNotEmptyAService(t *testing.T) {
	const most = 3 * time.Second // of an endpoint that answers; damping's fourth wait is 4 s
	f := fleet(t, "grpc", 2)
	client := stage.NewClient(f.Addresses.Listener, false)
	var took []time.Duration
	for range 7 {
		for _, u := range f.Upstreams {
			u.Kill()
		}
		time.Sleep(100 * time.Millisecond)
		for i, u := range f.Upstreams {
			again, err := f.Upstream(within(t, patience), u.Port)
			f.Upstreams[i] = must(t, again, err)
		}
		answers := time.Now()
		must(t, 0, stage.Eventually(within(t, patience), func(ctx context.Context) error { return client.Get(ctx).Failure() }))
		took = append(took, time.Since(answers))
	}
	limit(t, "upstreams answer → Envoy serves", most, took)
}
