package decide

import (
	"testing"
	"time"
)

func TestSettlingWaitsForAQuietPool(t *testing.T) {
	start := time.Unix(1000, 0)
	sec := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	type event struct {
		at      float64
		what    string // joined, changed, or empty
		settle  bool   // wanted at that moment
		untried bool
	}
	for _, tt := range []struct {
		name    string
		expects bool
		events  []event
		recalls bool
		mute    bool
	}{
		{"nobody to expect", false, []event{{0, "", true, false}}, false, false},
		{"nobody answers", true, []event{{0, "", false, false}, {9.9, "", false, false}, {10, "", true, false}}, false, false},
		{"changes without a join", true, []event{{1, "changed", false, false}, {9, "", false, false}, {10, "", true, false}}, false, false},
		{"joined and quiet", true, []event{{1, "joined", false, false}, {2.9, "", false, false}, {3, "", true, false}}, false, false},
		{"joined and restless", true, []event{{1, "joined", false, false}, {2.5, "changed", false, false}, {4, "changed", false, false}, {5.9, "", false, false}, {6, "", true, false}}, false, false},
		{"restless to the end", true, []event{{1, "joined", false, false}, {9, "changed", false, false}, {9.9, "", false, false}, {10, "", true, false}}, false, false},
		{"joined, quiet, and the probes are slow", true, []event{{1, "joined", false, true}, {3, "", false, true}, {3.9, "", false, true}, {4, "", true, true}}, false, false},
		{"joined, quiet, and the probes answer", true, []event{{1, "joined", false, true}, {3, "", false, true}, {3.1, "", true, false}}, false, false},
		{"nobody of those remembered is heard", false, []event{{0, "", false, false}, {10, "", false, false}, {599, "", false, false}, {6000, "", false, false}}, true, true},
		{"those remembered are heard after a minute, none joins", false, []event{{10, "", false, false}, {58, "", false, false}, {60, "heard", false, false}, {67.9, "", false, false}, {68, "", true, false}}, true, true},
		{"joined after a silence of a minute", false, []event{{58, "", false, false}, {60, "joined", false, false}, {60, "heard", false, false}, {61.9, "", false, false}, {62, "", true, false}}, true, true},
		{"those remembered answer, none joins", false, []event{{0, "", false, false}, {10, "", true, false}}, true, false},
		{"joined, and no endpoint is heard", false, []event{{0, "", false, false}, {1, "joined", false, false}, {3, "", false, false}, {4, "", true, false}}, true, true},
		{"settled for good", true, []event{{1, "joined", false, false}, {3, "", true, false}, {3.1, "changed", true, false}}, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			mute := tt.mute
			s := newSettling(start, tt.expects, tt.recalls)
			for _, e := range tt.events {
				switch now := sec(e.at); e.what {
				case "joined":
					s.hasJoined(now)
				case "changed":
					s.changed(now)
				case "heard":
					mute = false
				}
				untried := time.Duration(0)
				if e.untried {
					untried = settleProbe
				}
				settled, due := s.at(sec(e.at), untried, mute)
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
