package probe

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-fleet/rollcall/fleet"
)

// Each script begins after a first good answer, at a random place between two
// probes. A duration lets time pass, =verdict says what is wanted then, and
// =steady that nothing but good was ever the verdict, =one that there was but one
// connection. The other words are stage's.
func TestRules(t *testing.T) {
	for _, tt := range []struct {
		name     string
		script   string
		change   func(*Target)
		interval time.Duration
	}{
		{name: "an endpoint that answers is good", script: "=good 10m =steady =one"},

		// Death.
		{name: "a kill is seen at once", script: "10s die 0s =dead 1m =dead"},
		{name: "a kill between the first probes", script: "die 0s =dead"},
		{name: "a process that accepts while it dies", script: "10s accepts/2 die 0s =dead"},
		{name: "a process that accepts for longer while it dies", script: "10s accepts/5 die 3s =dead"},
		{name: "a start after a death", script: "10s die 5s =dead start 1s =good 1m =good"},
		{name: "a kill of a frozen process", script: "10s freeze 300ms die 0s =dead"},
		{name: "a kill of a process that was judged silent", script: "10s freeze 1m =silent die 0s =dead"},
		{name: "a dead host whose machine goes too", script: "10s die 0s =dead dark 1m =dead"},
		{name: "a refusal with the gossip port open", script: "10s quit 0s =good 20ms =refused 1m =refused"},
		{name: "a refusal with the gossip port silent", script: "10s deaf quit 499ms =good 1ms =refused"},
		{name: "a gossip port that goes later", script: "10s quit 20ms =refused 3s die 1s =dead"},
		{name: "a port that comes back", script: "10s quit 20ms =refused 3s start 1s =good"},
		{name: "a port that comes back before its gossip port has spoken", interval: 100 * time.Millisecond, script: "10s deaf quit 10ms start 1s =steady"},
		{name: "no witness", script: "10s quit 0s =dead", change: func(t *Target) { t.Gossip = noPort }},

		{name: "a silent gossip port and probes that do not wait for it", interval: 100 * time.Millisecond, script: "10s deaf quit 501ms =refused"},

		// Connections that a firewall refuses.
		{name: "a firewall that rejects", script: "10s rejected 0s =contradicted 1m =contradicted passed 1s =good"},
		{name: "a firewall that rejects, a slow network", script: "10s answer/30ms syn/10ms close 1s rejected 1s =contradicted 1m =contradicted"},
		{name: "an answer that comes late", script: "10s answer/100ms rejected 9ms =good 1ms =dead 90ms =contradicted"},
		{name: "answers that come late are waited for from then on", script: "10s answer/100ms rejected 100ms =contradicted 950ms =contradicted 10ms =contradicted 1m =contradicted"},
		{name: "a kill behind a firewall that rejects", script: "10s rejected 0s =contradicted 5s die 249ms =contradicted 1200ms =dead"},
		{name: "a kill that nobody says is one", script: "10s secret die 9ms =good 1ms =dead 1m =dead"},
		{name: "a kill that nobody says is one, a slow network", script: "10s syn/10ms die 1s start 2s =good secret die 59ms =good 1ms =dead"},
		{name: "a kill that nobody says is one, a very slow network", script: "10s syn/100ms die 2s start 2s =good secret die 249ms =good 1ms =dead"},

		{name: "a firewall that rejects everything", script: "10s walled 0s =dead 1m =dead"},
		{name: "a firewall that rejects everything, but not for others", script: "10s others walled 0s =contradicted 1h =contradicted"},
		{name: "a kill behind a firewall that rejects everything", script: "10s others walled 5s =contradicted die 2s =dead"},

		// Links that others have and this process has not.
		{name: "a link that others have", script: "10s others dark 1499ms =good 1001ms =contradicted 1h =contradicted light 1s =good"},
		{name: "a process that others cannot reach either", script: "10s others/no dark 2500ms =silent"},
		{name: "a stop that others see, too", script: "10s others freeze 2500ms =silent"},
		{name: "a process that stops behind a broken link", script: "10s others dark 5s =contradicted freeze 4s =silent"},
		{name: "a link that others lose, too", script: "10s others dark 5s =contradicted others/no 4s =silent"},
		{name: "others that find a lost link again", script: "10s dark 5s =silent others 4s =contradicted"},
		{name: "a firewall that drops connections", script: "10s dropped 2500ms =contradicted 1h =contradicted"},
		{name: "a firewall that drops connections, and no sockets to find out", script: "10s dropped nosockets 1m =steady"},
		{name: "a firewall that drops connections, and no sockets later", script: "10s dropped 5s =contradicted nosockets 1m =contradicted"},
		{name: "a hang, and no sockets to find out for a while", script: "10s hang nosockets 1m =good sockets 3s =hanging"},
		{name: "a stop behind a firewall that drops connections", script: "10s dropped 5s =contradicted freeze 4s =silent"},
		{name: "a hang behind nothing", script: "10s others hang 2500ms =hanging"},

		// Answers.
		{name: "two bad answers", script: "10s status/503 0s =good 2s =failing 1m =failing"},
		{name: "one bad answer", script: "10s status/503 1s =good status/200 1s =steady"},
		{name: "back after one good answer", script: "10s status/503 2s =failing status/200 1s =good"},
		{name: "a redirect is no good answer", script: "10s status/302 2s =failing"},
		{name: "any 2xx is a good answer", script: "10s status/204 10s =steady"},
		{name: "an answer in chunks", script: `raw/HTTP/1.1_200_OK\r\nX-Rollcall-Id:_me\r\nTransfer-Encoding:_chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n 1m =steady =one`},
		{name: "an answer after early hints", script: `raw/HTTP/1.1_103_X\r\n\r\nHTTP/1.1_200_OK\r\nX-Rollcall-Id:_me\r\nContent-Length:_0\r\n\r\n 1m =steady =one`},
		{name: "an answer that ends with the connection", script: `close raw/HTTP/1.0_200_OK\r\nX-Rollcall-Id:_me\r\n\r\nok 1m =steady`},
		{name: "not HTTP", script: `10s raw/220_smtp\r\n 3s =failing 1m =failing`},
		{name: "a server that hangs up for an answer", script: "10s hangup 3s =failing 1m =failing"},
		{name: "another process at the address", script: "10s id/another 1s =replaced status/503 10s =replaced id/me status/200 1s =good"},
		{name: "another process that falls silent", script: "10s id/another 1s =replaced freeze 1m =replaced"},
		{name: "another process that dies", script: "10s id/another 1s =replaced die 0s =dead"},
		{name: "a process without an id at the address", script: "10s id/ 1s =replaced 1m =replaced id/me 1s =good"},
		{name: "a process without an id on a dead one's address", script: "10s die 5s =dead id/ start 1s =replaced 1m =replaced"},
		{name: "bad answers without an id", script: "10s id/ status/503 2s =failing id/me status/200 1s =good"},
		{name: "answers that nobody asked for", script: `raw/HTTP/1.1_200_OK\r\nX-Rollcall-Id:_me\r\nContent-Length:_0\r\n\r\nHTTP/1.1_503_X\r\nContent-Length:_0\r\n\r\nHTTP/1.1_503_X\r\nContent-Length:_0\r\n\r\n 1m =steady`},
		{name: "a manual host accepts any id", script: "10s id/another 10s =steady", change: func(t *Target) { t.ID = "" }},

		// Connections.
		{name: "a server that closes idle connections", script: "idle/300ms 10m =steady"},
		{name: "a server that closes them just when it is asked", script: "idle/1s 10m =steady"},
		{name: "a server that closes them at once", script: "idle/1ns 10m =steady"},
		{name: "a server whose closing crosses the request", script: "close crossing/200ms 10m =steady"},
		{name: "a server that closes each connection", script: "close 10m =steady"},
		{name: "a kill after connections that closed", script: "close 1m =steady die 0s =dead"},
		{name: "a process that has no sockets left", script: "10s nofiles 10m =steady"},
		{name: "a first probe without a route", script: "10s noroute 2500ms =hanging"},

		// Silence.
		{name: "a hang", script: "10s hang 1499ms =good 1001ms =hanging 1m =hanging"},
		{name: "a hang that ends before it is judged", script: "10s hang 1400ms =good thaw 0s =steady"},
		{name: "a hang that ends", script: "10s hang 1m =hanging thaw 0s =good"},
		{name: "a stop", script: "10s freeze 1499ms =good 1001ms =silent 1m =silent thaw 0s =good 1m =good"},
		{name: "a hang becomes a stop", script: "10s hang 10s =hanging freeze 10s =silent"},
		{name: "a stop becomes a hang", script: "10s freeze 10s =silent thaw hang 10s =hanging"},
		{name: "a network that goes", script: "10s dark 1499ms =good 1001ms =silent 1m =silent light 1s =good"},
		{name: "a network that goes for a second", script: "10s dark 1s =good light 10s =steady"},
		{name: "no gossip to ask", script: "10s hang 2500ms =silent", change: func(t *Target) { t.Gossip = noPort }},
		{name: "answers that are late", script: "slow/900ms 1m =steady"},

		// TCP.
		{name: "tcp: a port that accepts", script: "10m =steady", change: tcp},
		{name: "tcp: a server that closes idle connections", script: "idle/300ms 10m =steady", change: tcp},
		{name: "tcp: a server that speaks first", script: "greet/220_smtp 10m =steady", change: tcp},
		{name: "tcp: a kill", script: "10s die 1s =dead start 1s =good", change: tcp},
		{name: "tcp: a refusal", script: "10s quit 1020ms =refused", change: tcp},
		{name: "tcp: a network that goes", script: "10s dark 2500ms =silent light 1s =good", change: tcp},
		{name: "tcp: a kill of which its member's stream says", script: "10s die check 0s =dead", change: tcp},
		{name: "tcp: what it would answer does not matter", script: "status/503 id/another 1m =steady", change: tcp},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, 1, tt.interval)
				defer s.stop()
				if tt.change != nil {
					tt.change(&s.targets[0])
				}
				s.watch(s.targets...)
				s.want(0, Good)
				since := s.evidence(0).Since
				for word := range strings.FieldsSeq(tt.script) {
					if d, err := time.ParseDuration(word); err == nil {
						s.pass(d)
					} else if word == "=steady" {
						if e := s.evidence(0); e.Verdict != Good || !e.Since.Equal(since) {
							t.Errorf("%q since %v after the start", e.Verdict, e.Since.Sub(since))
						}
					} else if word == "=one" {
						if n := len(s.port(0).get().dials); n != 1 {
							t.Errorf("%d connections", n)
						}
					} else if want, ok := strings.CutPrefix(word, "="); ok {
						s.want(0, Verdict(want))
					} else {
						s.do(0, word)
					}
				}
			})
		})
	}
}

var noPort = Target{}.Gossip

func tcp(t *Target) { t.Kind = fleet.ProbeTCP }
