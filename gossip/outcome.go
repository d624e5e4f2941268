package gossip

import (
	"fmt"
	"log/slog"
	"strings"
)

// report logs what came of joining t: news at info or warn level, repeats at
// debug. A dead member that stays away is no news.
func (r *rejoiner) report(t target, err error, outcome map[string]string) {
	switch {
	case err != nil:
		why, denied := reason(err, r.fleet)
		switch {
		case t.seed != "":
			r.say(t.String(), slog.LevelWarn, why, outcome)
		case denied && len(r.remembered) > 0:
			r.say("remembered members", slog.LevelWarn, why, outcome)
		default:
			r.log.Debug("member still not reachable", "gossip", t.addr, "reason", why)
		}
	case t.seed == "":
		r.log.Info("joined a lost member again", "gossip", t.addr, "others", r.members.others())
	case r.members.others() == 0:
		r.say(t.String(), slog.LevelInfo, "it is this process itself", outcome)
	default:
		r.say(t.String(), slog.LevelInfo, joinedText, outcome)
	}
}

// String names a seed's address, and by which name it came.
func (t target) String() string {
	if addr := t.addr.String(); t.seed != addr {
		return t.seed + " at " + addr
	}
	return t.seed
}

const joinedText = "" // the outcome of a seed that let us in

// say logs the outcome of a seed, at debug level when it is the same as the last time.
func (r *rejoiner) say(seed string, level slog.Level, why string, outcome map[string]string) {
	if last, ok := r.outcome[seed]; ok && last == why {
		level = slog.LevelDebug
	}
	outcome[seed] = why
	if why == joinedText {
		r.log.Log(noContext, level, "joined the pool", "seed", seed, "others", r.members.others())
		return
	}
	r.log.Log(noContext, level, "could not join through a seed, still trying", "seed", seed, "reason", why)
}

// refusals are the words by which memberlist 0.7.0 reports that one side does not
// let the other in, and what they mean to an operator.
var refusals = []struct{ text, meaning string }{
	{"no installed keys could decrypt the message", "it has another gossip key than this process: check --gossip-key-file on both"},
	{"remote state is encrypted and encryption is not configured", "it has a gossip key and this process has none: pass --gossip-key-file"},
	{"encryption is configured but remote state is not encrypted", "it has no gossip key and this process has one: check --gossip-key-file on both"},
	{"received invalid msgType", "what listens there does not speak gossip: check the address"},
}

// A member of another fleet hangs up without an answer.
var hangups = []string{"EOF", "connection reset by peer", "broken pipe"}

// maxReason bounds what a stranger can put into one log line, in bytes.
const maxReason = 200

// reason says in an operator's words why a join failed, the same each time that
// the cause is the same; denied when a member answered and refused us.
func reason(err error, fleetName string) (why string, denied bool) {
	text := strings.TrimSpace(err.Error())
	for _, r := range refusals {
		if strings.Contains(text, r.text) {
			return r.meaning, true
		}
	}
	for _, h := range hangups {
		if strings.HasSuffix(text, h) {
			return fmt.Sprintf("it hung up without an answer, most likely because it is of another fleet: this process has --fleet %s", fleetName), true
		}
	}
	return cause(text), false
}

// cause is the end of an error's text: what comes before it names a local port,
// another one each time.
func cause(text string) string {
	if i := strings.LastIndex(text, ": "); i >= 0 {
		text = text[i+2:]
	}
	return text[:min(len(text), maxReason)]
}
