package probe

import (
	"strconv"
	"strings"
	"testing"
)

// Each script is a list of events with the verdict wanted after the last of them.
// good, bad: an answer; other: another process's; late[/share]: a time-out;
// ping, mute: what gossip says; both, open, none, deaf: the witness to a refusal.
func TestJudge(t *testing.T) {
	for _, tt := range []struct {
		script string
		want   Verdict
	}{
		{"", Unknown},
		{"good", Good},
		{"bad", Unknown},
		{"good bad", Good},
		{"good bad bad", Failing},
		{"good bad good bad", Good},
		{"good bad bad good", Good},
		{"good other", Replaced},
		{"good late late", Good},
		{"good late late late", Good}, // the witnesses have not been asked yet
		{"good late late late ping", Hanging},
		{"good late late late mute", Silent},
		{"good late late late good mute", Good}, // an answer was quicker than the witnesses
		{"good late late good late", Good},
		{"late late late mute good", Good},
		{"late late late mute late late late ping", Hanging},
		{"late late late ping late late late mute", Silent},
		{"late late late mute bad bad", Failing},
		{"good both", Dead},
		{"good none", Dead},
		{"good open", Refused},
		{"good deaf", Refused},
		{"both good", Good},
		{"both bad", Dead},
		{"both bad bad", Failing},
		{"good bad late bad", Good}, // not two bad answers in a row
	} {
		j := &judge{expect: "me"}
		for _, event := range strings.Fields(tt.script) {
			name, arg, _ := strings.Cut(event, "/")
			share, _ := strconv.ParseFloat(arg, 64)
			switch name {
			case "good":
				j.answer(true, "me")
			case "bad":
				j.answer(false, "me")
			case "other":
				j.answer(true, "another")
			case "late":
				j.timeout(share)
			case "ping", "mute":
				j.pinged(name == "ping")
			case "both":
				j.refused(witnessRefuses)
			case "none":
				j.refused(witnessNone)
			case "open":
				j.refused(witnessAccepts)
			case "deaf":
				j.refused(witnessMute)
			default:
				t.Fatalf("no event %q", name)
			}
		}
		if j.verdict != tt.want {
			t.Errorf("%q: %q, want %q", tt.script, j.verdict, tt.want)
		}
	}
}

func TestSharedSilenceTakesLonger(t *testing.T) {
	before := 0
	for _, share := range []float64{0, 0.1, 0.35, 0.5, 1} {
		var j judge
		n := 1
		for !j.timeout(share) {
			n++
		}
		if n < before || (share == 0 && n != silentAfter) || (share == 1 && n != silentAfter+silentMore) {
			t.Errorf("with a share of %v it takes %d time-outs", share, n)
		}
		before = n
	}
}

func TestAnAnswerWithoutAnIDIsBelieved(t *testing.T) {
	j := &judge{expect: "me"}
	if j.answer(true, ""); j.verdict != Good {
		t.Errorf("%q", j.verdict)
	}
}
