package xds

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// apply plays one step of a script on acks:
//
//	sub a b        subscribe            push 2 n a@v1 b@v2   sent as of seq 2 under nonce n
//	unsub a        unsubscribe          next 2 n a@v1        the same, replacing what is pending
//	ack n          ACK                  hold 2 a@v1          the client came with this
//	ackv n v1      ACK of a version     poll v1 2 a@v2       polled with v1, answered with a@v2
//	nack n         NACK
func apply(t *testing.T, a *acks, step string) {
	t.Helper()
	f := strings.Fields(step)
	switch f[0] {
	case "sub":
		a.subscribe(f[1:])
	case "unsub":
		a.unsubscribe(f[1:])
	case "ack":
		a.ack(f[1])
	case "ackv":
		a.ackVersion(f[1], f[2])
	case "nack":
		a.reject(f[1], "because", time.Now())
	case "push", "next":
		a.pushed(response(t, f[2], f[1], f[3:]), f[0] == "next")
	case "hold":
		r := response(t, "", f[1], f[2:])
		a.hasCurrent(r.seq, r.items)
	case "poll":
		current := response(t, "", f[2], f[3:])
		a.reported(f[1], current)
		a.answered(f[1], current)
	default:
		t.Fatalf("no such step: %q", step)
	}
}

// response is one whose version is that of its items joined.
func response(t *testing.T, nonce, seq string, items []string) sentResponse {
	s := sentResponse{nonce: nonce}
	if _, err := fmt.Sscan(seq, &s.seq); err != nil {
		t.Fatal(err)
	}
	var versions []string
	for _, i := range items {
		name, version, _ := strings.Cut(i, "@")
		s.items = append(s.items, item{name: name, version: version})
		versions = append(versions, version)
	}
	s.version = strings.Join(versions, "+")
	return s
}

func TestAcks(t *testing.T) {
	cases := []struct {
		name  string
		steps []string
		want  string // name sent/acked/seq
	}{
		{"asked for", []string{"sub a b"}, "a //0, b //0"},
		{"sent is not acknowledged", []string{"sub a", "push 2 1 a@x"}, "a x//0"},
		{"acknowledged", []string{"sub a", "push 2 1 a@x", "ack 1"}, "a x/x/2"},
		{"no nonce", []string{"sub a", "push 2 1 a@x", "ack -"}, "a x//0"},
		{"rejected", []string{"sub a", "push 2 1 a@x", "nack 1"}, "a x//0"},
		{"rejected, then the nonce again", []string{"sub a", "push 2 1 a@x", "nack 1", "ack 1"}, "a x//0"},
		{"rejected, then the next one accepted", []string{"sub a", "push 2 1 a@x", "nack 1", "push 3 2 a@y", "ack 2"}, "a y/y/3"},
		{"rejected after one was accepted", []string{"sub a", "push 2 1 a@x", "ack 1", "push 3 2 a@y", "nack 2"}, "a y/x/2"},
		{"delta: answered out of order", []string{"sub a b", "push 2 1 a@x", "push 3 2 b@y", "ack 2"}, "a x//0, b y/y/3"},
		{"delta: the older answer comes last", []string{"sub a", "push 2 1 a@x", "push 3 2 a@y", "ack 2", "ack 1"}, "a y/y/3"},
		{"sotw: an older nonce is stale", []string{"sub a", "next 2 1 a@x", "next 3 2 a@y", "ackv 1 x"}, "a y//0"},
		{"sotw: the nonce without the version", []string{"sub a", "next 2 1 a@x", "ackv 1 w"}, "a x//0"},
		{"sotw: nonce and version", []string{"sub a", "next 2 1 a@x", "ackv 1 x"}, "a x/x/2"},
		{"back to older content is new", []string{"sub a", "push 2 1 a@x", "ack 1", "push 3 2 a@y", "push 4 3 a@x", "ack 3"}, "a x/x/4"},
		{"unsubscribed", []string{"sub a b", "push 2 1 a@x b@y", "unsub a", "ack 1"}, "b y/y/2"},
		{"subscribed again starts anew", []string{"sub a", "push 2 1 a@x", "ack 1", "unsub a", "sub a"}, "a //0"},
		{"subscribed again before it was answered", []string{"sub a", "push 2 1 a@x", "unsub a", "sub a"}, "a //0"},
		{"wildcard: sent without being asked for", []string{"push 2 1 a@x", "ack 1"}, "a x/x/2"},
		{"came with it", []string{"sub a b", "hold 5 a@x"}, "a x/x/5, b //0"},
		{"came with it after all", []string{"sub a b", "push 2 1 a@w", "hold 5 a@x"}, "a x/x/5, b //0"},

		{"poll: first", []string{"sub a", "poll - 2 a@x"}, "a x//0"},
		{"poll: holds what was answered", []string{"poll - 2 a@x", "poll x 3 a@y"}, "a y/x/2"},
		{"poll: holds what is current", []string{"poll - 2 a@x", "poll x 9 a@x"}, "a x/x/9"},
		{"poll: answer lost or refused", []string{"poll - 2 a@x", "poll x 3 a@y", "poll x 4 a@y"}, "a y/x/2"},
		{"poll: in the end accepted", []string{"poll - 2 a@x", "poll x 3 a@y", "poll x 4 a@z", "poll z 4 a@z"}, "a z/z/4"},
		{"poll: skipped an answer", []string{"poll - 2 a@x", "poll x 3 a@y", "poll x 4 a@z", "poll y 5 a@z"}, "a z//0"},
		{"poll: another server's version", []string{"poll - 2 a@x", "poll x 3 a@y", "poll w 4 a@y"}, "a y//0"},
		{"poll: from the other server, of equal content", []string{"sub a", "poll x 2 a@x"}, "a x/x/2"},
		{"poll: restarted", []string{"poll - 2 a@x", "poll x 3 a@x", "poll - 4 a@x"}, "a x//0"},
		{"poll: two names", []string{"poll - 2 a@x b@y", "poll x+y 3 a@x b@z"}, "a x/x/2, b z/y/2"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var a acks
			for _, step := range c.steps {
				apply(t, &a, step)
			}
			services, _ := a.list()
			var got []string
			for _, s := range services {
				got = append(got, fmt.Sprintf("%s %s/%s/%d", s.Name, s.Sent, s.Acked, s.AckedSeq))
			}
			if have := strings.Join(got, ", "); have != c.want {
				t.Errorf("after %q:\n got %s\nwant %s", c.steps, have, c.want)
			}
		})
	}
}

func TestAcksAreBounded(t *testing.T) {
	var a acks
	for i := range 10 * maxPending {
		apply(t, &a, fmt.Sprintf("push 2 %d a@x", i))
	}
	if len(a.pending) > maxPending {
		t.Errorf("%d responses wait for their ACK", len(a.pending))
	}
	for i := range DefaultMaxNames + 10 {
		a.pushed(sentResponse{nonce: "n", items: []item{{name: fmt.Sprint(i), version: "x"}}}, true)
	}
	if len(a.services) > DefaultMaxNames {
		t.Errorf("%d names are kept", len(a.services))
	}
	a.reject("n", strings.Repeat("é", maxDetail), time.Now())
	if _, nack := a.list(); nack == nil || len(nack.Detail) > maxDetail {
		t.Errorf("the NACK is %+v", nack)
	}
}

// A client that acknowledged a sequence number not older than the latest change of a
// service must have the current content, with nothing else on its way: receipts for a
// drained endpoint depend on it. Any order of changes, of messages
// read, accepted and rejected is tried, for both protocols.
func TestAcknowledgedSequenceIsNeverAheadOfTheClient(t *testing.T) {
	names := []string{"a", "b", "c"}
	answered := 0
	rapid.Check(t, func(t *rapid.T) {
		full := rapid.Bool().Draw(t, "sotw")
		c := newCache()
		var a acks
		w := &watcher{hasCurrent: a.hasCurrent, advance: a.advance, since: a.since, stale: map[string]struct{}{}, names: listOf([]string{"a", "b"})}
		a.subscribe([]string{"a", "b"})
		queued := false
		notify := func() { queued = true }
		c.watch(w, change{add: []string{"a", "b"}, due: full}, notify)

		changed := map[string]uint64{}        // name → seq of its latest change
		client := map[string]string{}         // what it holds
		onItsWay := map[string]sentResponse{} // at most one, as go-control-plane has it
		nonces := 0
		content := func(name string) string { return c.current(name).version() }
		is := func(name, version string) bool { // the current content, or that with the leaving endpoints
			for _, a := range c.current(name).steps {
				if a.version() == version {
					return true
				}
			}
			return version == content(name)
		}
		t.Repeat(map[string]func(*rapid.T){
			"change": func(t *rapid.T) {
				name := rapid.SampledFrom(names).Draw(t, "name")
				before := c.seq
				a := mustEncode(name, rapid.SampledFrom([]string{hostA, hostB}).Draw(t, "host"))
				if rapid.Bool().Draw(t, "leaves") {
					a.leaving = []departure{{Host: *host(hostC), seq: c.next()}}
				}
				announce(c, true, []*resource{a}, nil)
				a.encoded() // as if another client had been sent it
				if c.seq != before {
					changed[name] = c.seq
				}
			},
			"left": func(t *rapid.T) {
				name := rapid.SampledFrom(names).Draw(t, "name")
				now := c.current(name)
				if len(now.leaving) == 0 {
					t.Skip("nothing leaves")
				}
				announce(c, true, []*resource{{assignment: now.assignment, gone: now.leaving}}, nil)
				changed[name] = c.seq
			},
			"vanish": func(t *rapid.T) {
				name := rapid.SampledFrom(names).Draw(t, "name")
				before := content(name)
				announce(c, true, nil, []string{name})
				if content(name) != before {
					changed[name] = c.seq
				}
			},
			"send": func(t *rapid.T) {
				if !queued {
					t.Skip("nothing to send")
				}
				queued = false
				nonces++
				s := c.collect(w, full).as(fmt.Sprint(nonces))
				a.pushed(s, full)
				onItsWay[s.nonce] = s
			},
			"answer": func(t *rapid.T) {
				if len(onItsWay) == 0 {
					t.Skip("nothing to answer")
				}
				s := onItsWay[slices.Collect(maps.Keys(onItsWay))[0]]
				delete(onItsWay, s.nonce)
				if rapid.Bool().Draw(t, "accept") {
					for _, i := range s.items {
						client[i.name] = i.version
						answered++
					}
					if full {
						a.ackVersion(s.nonce, s.version)
					} else {
						a.ack(s.nonce)
					}
				} else {
					a.reject(s.nonce, "no", time.Time{})
				}
				c.watch(w, change{fresh: full}, notify)
			},
			"": func(t *rapid.T) {
				services, _ := a.list()
				for _, s := range services {
					if s.AckedSeq == 0 || s.AckedSeq < changed[s.Name] {
						continue
					}
					if !is(s.Name, client[s.Name]) {
						t.Fatalf("%s: acknowledged as of %d, changed at %d, but the client holds %s, not %s",
							s.Name, s.AckedSeq, changed[s.Name], client[s.Name], content(s.Name))
					}
					for _, p := range onItsWay {
						for _, i := range p.items {
							if i.name == s.Name && !is(i.name, i.version) {
								t.Fatalf("%s: acknowledged, but %s is on its way", s.Name, i.version)
							}
						}
					}
				}
			},
		})
	})
	if answered == 0 {
		t.Error("nothing was ever answered")
	}
}

func mustEncode(name string, addrs ...string) *resource {
	return &resource{assignment: newAssignment(name, staying(service(name, addrs...).Hosts), nil)}
}

func TestClientIsBehindSinceItsFirstUnacknowledgedPush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const not = -1 * time.Second
		var a acks
		began := time.Now()
		for i, c := range []struct {
			step string // at second i
			want time.Duration
		}{
			{"sub a", not},
			{"push 2 1 a@x", 1 * time.Second},
			{"push 3 2 a@y", 1 * time.Second},
			{"ack 1", 1 * time.Second}, // it lacks the other one
			{"nack 2", 1 * time.Second},
			{"push 4 3 a@z", 1 * time.Second},
			{"ack 3", not},
			{"push 5 4 a@x", 7 * time.Second},
			{"hold 6 a@y", not},
			{"poll y 7 a@z", 9 * time.Second},
			{"poll y 7 a@z", 9 * time.Second},
			{"poll z 7 a@z", not},
			{"poll - 8 a@z", 12 * time.Second},
			{"unsub a", not},
		} {
			apply(t, &a, c.step)
			got := not
			if services, _ := a.list(); len(services) > 0 && !services[0].BehindSince.IsZero() {
				got = services[0].BehindSince.Sub(began)
			}
			if got != c.want {
				t.Errorf("%d %s: behind since %s, want %s", i, c.step, got, c.want)
			}
			time.Sleep(time.Second)
		}
	})
}
