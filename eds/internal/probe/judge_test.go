package probe

import (
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Each script is a list of events with the verdict wanted after the last of them.
// good, bad: an answer; other: another process's; anon, anonbad: without a uuid; late[/share]: a time-out;
// ping, mute, else, alone: what gossip says; both, contra, open, none, deaf: the witnesses to a refusal.
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
		{"good anon", Replaced},
		{"good both anon", Replaced},
		{"both anon", Good}, // no uuid was ever seen
		{"anon anon", Good},
		{"other anon", Good},
		{"anon good anon", Replaced},
		{"good anon good", Good},
		{"good anonbad", Good},
		{"good anonbad anonbad", Failing},
		{"good both anonbad", Dead},
		{"good late late", Good},
		{"good late late late", Good}, // gossip has not spoken yet
		{"good late late ping", Good}, // one time-out before its word is needed
		{"good late late ping late", Hanging},
		{"good late late mute late", Silent},
		{"good late late late alone", Silent},
		{"good late late ping good late late late", Good}, // its word is of another silence
		{"good late late ping late/1", Good},
		{"good late late mute late/1 late", Good}, // its word is too old
		{"good late late mute late/1 late mute", Silent},
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
		{"good contra", Contradicted},
		{"contra", Contradicted},
		{"good contra both", Dead},
		{"both contra", Contradicted}, // its answer came late
		{"good contra good", Good},
		{"good contra open", Refused},
		{"good contra late mute", Contradicted},
		{"good contra late mute late mute", Silent},
		{"good contra late mute late else late mute", Contradicted},
		{"good contra late ping", Contradicted}, // what was asked first may have been dropped by what is gone by now
		{"good contra late ping late ping", Hanging},
		{"good contra late mute late ping", Contradicted},
		{"good contra late mute late ping late ping", Hanging},
		{"good contra late ping late else late ping", Contradicted},
		{"good contra late mute contra late mute", Contradicted},
		{"good late late else", Good},
		{"good late late else late", Contradicted},
		{"good late late late else", Contradicted},
		{"good late late late else good", Good},
		{"good late late late else both", Dead},
		{"good late late late mute late late late else", Contradicted},
		{"both late late late else", Contradicted},
		{"other late late late else", Replaced},
		{"bad bad late late late else", Failing},
		{"good late late late ping late late late else", Hanging},
		{"good bad bad contra", Failing}, // it is not served on the strength of less than its own word
		{"other contra", Replaced},
		{"both good", Good},
		{"both bad", Dead},
		{"both late late late mute", Dead}, // silence does not unsay a proof
		{"both open", Dead},
		{"open both", Dead},
		{"open late late late mute", Silent},
		{"other late late late mute", Replaced},
		{"other open", Replaced},
		{"other both", Dead},
		{"other good", Good},
		{"both bad bad", Failing},
		{"good bad late bad", Good}, // not two bad answers in a row
	} {
		j := &judge{expect: "me"}
		for event := range strings.FieldsSeq(tt.script) {
			name, arg, _ := strings.Cut(event, "/")
			share, _ := strconv.ParseFloat(arg, 64)
			switch name {
			case "good":
				j.answer(true, "me")
			case "bad":
				j.answer(false, "me")
			case "other":
				j.answer(true, "another")
			case "anon":
				j.answer(true, "")
			case "anonbad":
				j.answer(false, "")
			case "late":
				j.timeout(share)
			case "ping":
				j.pinged(answers)
			case "mute":
				j.pinged(mute)
			case "else":
				j.pinged(vouched)
			case "alone":
				j.pinged(nobody)
			case "both":
				j.refused(testimony{tcp: refuses, udp: refuses, challenge: mute})
			case "contra":
				j.refused(testimony{tcp: refuses, challenge: answers})
			case "none":
				j.refused(testimony{tcp: nobody})
			case "open":
				j.refused(testimony{tcp: answers})
			case "deaf":
				j.refused(testimony{tcp: mute})
			default:
				t.Fatalf("no event %q", name)
			}
		}
		if j.verdict != tt.want {
			t.Errorf("%q: %q, want %q", tt.script, j.verdict, tt.want)
		}
	}
}

// What is known after the serving port refused, and the verdict on it.
func TestWitnessesToARefusal(t *testing.T) {
	for _, tt := range []struct {
		known         testimony
		want, patient Verdict // for an endpoint that was found contradicted before
	}{
		{testimony{}, Unknown, Unknown},
		{testimony{overdue: true}, Unknown, Unknown},
		{testimony{udp: refuses, overdue: true}, Unknown, Unknown},
		{testimony{challenge: answers}, Unknown, Unknown},
		{testimony{tcp: nobody}, Dead, Dead},
		{testimony{tcp: answers}, Refused, Refused},
		{testimony{tcp: answers, challenge: answers}, Refused, Refused},
		{testimony{tcp: mute, udp: refuses}, Refused, Refused},
		{testimony{tcp: mute, challenge: answers}, Refused, Refused},
		{testimony{tcp: refuses}, Unknown, Unknown},
		{testimony{tcp: refuses, udp: mute}, Unknown, Unknown},
		{testimony{tcp: refuses, udp: refuses}, Dead, Unknown},
		{testimony{tcp: refuses, overdue: true}, Dead, Unknown},
		{testimony{tcp: refuses, udp: refuses, overdue: true}, Dead, Unknown},
		{testimony{tcp: refuses, challenge: mute}, Dead, Dead},
		{testimony{tcp: refuses, challenge: answers}, Contradicted, Contradicted},
		{testimony{tcp: refuses, udp: refuses, challenge: answers, overdue: true}, Contradicted, Contradicted},
	} {
		if got, patient := tt.known.verdict(false), tt.known.verdict(true); got != tt.want || patient != tt.patient {
			t.Errorf("%+v: %q, with patience %q, want %q and %q", tt.known, got, patient, tt.want, tt.patient)
		}
	}
}

func TestSharedSilenceTakesLonger(t *testing.T) {
	before := 0
	for _, share := range []float64{0, 0.1, 0.35, 0.5, 1} {
		var j judge
		n := 0
		for ; j.verdict != Silent; n++ {
			if j.timeout(share) {
				j.pinged(mute)
			}
		}
		if n < before || (share == 0 && n != silentAfter) || (share == 1 && n != silentAfter+silentMore) {
			t.Errorf("with a share of %v it takes %d time-outs", share, n)
		}
		before = n
	}
}

func TestGossipIsAskedOnceForASilence(t *testing.T) {
	var j judge
	var asked []int
	for i := range 9 {
		if j.timeout(0) {
			asked = append(asked, i)
			j.pinged(answers)
		}
	}
	if want := []int{1, 4, 7}; !slices.Equal(asked, want) {
		t.Errorf("asked at time-outs %v, want %v", asked, want)
	}
}

func TestAnswerWithoutAnIDIsBelieved(t *testing.T) {
	j := &judge{expect: "me"}
	if j.answer(true, ""); j.verdict != Good {
		t.Errorf("%q", j.verdict)
	}
}
