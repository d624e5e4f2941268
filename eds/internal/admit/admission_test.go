package admit

import (
	"log/slog"
	"testing"
	"time"
)

func TestFloodOfRefusalsIsLoggedInPart(t *testing.T) {
	a := &Admission{}
	now := time.Now()
	warnings := 0
	for range 10_000 {
		if a.level(now) == slog.LevelWarn {
			warnings++
		}
	}
	if warnings != refusalsLogged {
		t.Errorf("%d warnings", warnings)
	}
	if a.level(now.Add(time.Minute)) != slog.LevelWarn {
		t.Error("a minute later nothing is said")
	}
}
