package decide

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
)

func TestLogShowsWhenTheGuardEndsIfKnown(t *testing.T) {
	for until, want := range map[time.Time]bool{{}: false, time.Unix(1e9, 0): true} {
		var log bytes.Buffer
		narrateGuard(slog.New(slog.NewTextHandler(&log, nil)), registry.Service{}, registry.Service{Name: "web", Guard: &registry.Guard{Held: 3, Until: until}})
		if got := log.String(); strings.Contains(got, "until=") != want || !strings.Contains(got, "service=web kept=3") {
			t.Errorf("of one until %s the log has %s", until, got)
		}
	}
}
