package eds

import (
	"testing"
	"time"
)

func TestSettlingWaitsForAQuietPool(t *testing.T) {
	start := time.Unix(1000, 0)
	sec := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	type event struct {
		at     float64
		what   string // joined, changed, or empty
		settle bool   // wanted at that moment
	}
	for _, tt := range []struct {
		name    string
		expects bool
		events  []event
	}{
		{"nobody to expect", false, []event{{0, "", true}}},
		{"nobody answers", true, []event{{0, "", false}, {9.9, "", false}, {10, "", true}}},
		{"changes without a join", true, []event{{1, "changed", false}, {9, "", false}, {10, "", true}}},
		{"joined and quiet", true, []event{{1, "joined", false}, {2.9, "", false}, {3, "", true}}},
		{"joined and restless", true, []event{{1, "joined", false}, {2.5, "changed", false}, {4, "changed", false}, {5.9, "", false}, {6, "", true}}},
		{"restless to the end", true, []event{{1, "joined", false}, {9, "changed", false}, {9.9, "", false}, {10, "", true}}},
		{"settled for good", true, []event{{1, "joined", false}, {3, "", true}, {3.1, "changed", true}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newSettling(start, tt.expects)
			for _, e := range tt.events {
				switch now := sec(e.at); e.what {
				case "joined":
					s.hasJoined(now)
				case "changed":
					s.changed(now)
				}
				settled, due := s.at(sec(e.at))
				if settled != e.settle {
					t.Fatalf("at %v s: settled %v, want %v", e.at, settled, e.settle)
				}
				if !settled && !due.After(sec(e.at)) {
					t.Fatalf("at %v s: due %v is not later", e.at, due)
				}
			}
		})
	}
}
