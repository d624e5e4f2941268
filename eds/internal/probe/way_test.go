package probe

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/internal/turns"
)

// memStream is a stream to a member: its gossip port answers as an endpoint does.
type memStream struct{ net.Conn }

func (s *stage) stream(ctx context.Context, t Target) (Stream, error) {
	if t.Path == "old" {
		return nil, fmt.Errorf("%w: it is an old one", ErrNoStream)
	}
	conn, err := s.net.dial(ctx, "tcp", t.Gossip.String())
	if err != nil {
		return nil, err
	}
	stream := &memStream{Conn: conn}
	return stream, stream.Ask()
}

func (s *memStream) Ask() error {
	_, err := s.Write([]byte("?"))
	return err
}

func (s *memStream) Read() (bool, error) {
	b := make([]byte, 1024)
	n, err := s.Conn.Read(b)
	return strings.Contains(string(b[:n]), " 200 "), err
}

func behind(t *Target) { t.Kind = fleet.ProbeNone }

// A program behind rollcall's wrapper is asked for at the wrapper. The script's words
// are those of TestRules; =untouched says that the program saw no connection, =alone that
// it is known to have lost its wrapper.
func TestRulesOfStreams(t *testing.T) {
	for _, tt := range []struct{ name, script string }{
		{"a wrapper that answers", "10m =steady =untouched"},
		{"a wrapper that reports a sick program", "10s health/503 2s =failing =untouched health/200 1s =good"},
		{"both die at once", "10s die 5ms =dead 1m =dead"},
		{"both die, and the program accepts for a moment more", "10s leave 1ms quit 10ms =dead 1m =dead"},
		{"the wrapper dies", "10s leave 15ms =good =alone 10m =steady =alone"},
		{"the wrapper dies, and the program later", "10s leave 1m =alone quit 1100ms =dead 1m =dead"},
		{"another program takes the port of one that died alone", "10s leave 1m =alone quit 1100ms =dead start leave 10m =dead"},
		{"another program takes the port of one that died", "10s die 5ms =dead start leave 10m =dead"},
		{"the wrapper dies after it reported a sick program", "10s health/503 5s =failing leave 10m =refused"},
		{"the wrapper can be reached again", "10s leave 10s =alone return 10s =good =watched 1m =steady"},
		{"the wrapper is stopped", "10s halt 2500ms =silent 10m =silent thaw 1s =good =watched"},
		{"both are stopped, which the kernel's port does not show", "10s freeze 2500ms =silent 1m =silent"},
		{"a firewall rejects connections to the wrapper", "10s rejectgossip 20ms =good =alone 10m =steady allow 10s =watched"},
		{"a firewall drops those to the wrapper", "10s dropgossip 5s =good =alone 10m =steady allow 10s =watched"},
		{"the host goes", "10s dark 1499ms =good 1001ms =silent 1m =silent light 1s =good =watched"},
		{"the wrapper dies while the program has no room for a connection", "10s syn/800ms leave 600ms =good syn/0s 1s =good =alone 1m =steady"},
		{"the wrapper dies, and the program's port is silent", "10s syn/1h leave 5s =silent 1m =silent"},
		{"the wrapper's stream breaks", "10s idle/300ms 10m =steady"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t, 1, 0)
				defer s.stop()
				behind(&s.targets[0])
				s.watch(s.targets...)
				s.want(0, Good)
				since := s.evidence(0).Since
				for word := range strings.FieldsSeq(tt.script) {
					e := s.evidence(0)
					if d, err := time.ParseDuration(word); err == nil {
						s.pass(d)
						continue
					}
					switch want, isVerdict := strings.CutPrefix(word, "="); {
					case word == "=steady":
						if e.Verdict != Good || !e.Since.Equal(since) {
							t.Errorf("%q since %v after the start", e.Verdict, e.Since.Sub(since))
						}
					case word == "=untouched":
						if n := len(s.port(0).get().dials); n != 0 {
							t.Errorf("the program saw %d connections", n)
						}
					case word == "=alone" || word == "=watched":
						if e.Verdict != Good || e.Alone != (word == "=alone") || e.Verified == e.Alone {
							t.Errorf("%s: %+v", word, e)
						}
					case isVerdict:
						s.want(0, Verdict(want))
					default:
						s.do(0, word)
					}
				}
				if n := s.port(0).open(); n > 0 {
					t.Errorf("%d connections to the program are open", n)
				}
			})
		})
	}
}

// stuckStream is one whose member reads nothing: what is written to it waits.
type stuckStream struct{ *memStream }

func (s stuckStream) Ask() error {
	time.Sleep(writeLimit)
	return context.DeadlineExceeded
}

// Members that read nothing of their streams do not delay others.
func TestStreamsThatAreStuckDoNotDelayOtherProbes(t *testing.T) {
	const stuck = 30
	inVirtualTime(t, 1+stuck, func(t *testing.T, s *stage) {
		for i := range stuck {
			behind(&s.targets[1+i])
		}
		stream := s.p.opts.Stream
		s.p.opts.Stream = func(ctx context.Context, t Target) (Stream, error) {
			opened, err := stream(ctx, t)
			if err != nil {
				return nil, err
			}
			return stuckStream{opened.(*memStream)}, nil
		}
		s.watch(s.targets...)
		s.pass(10 * time.Second)
		s.want(0, Good)
		s.do(0, "die")
		s.pass(10 * time.Millisecond)
		s.want(0, Dead)
	})
}

func TestMemberWithoutStreamsIsTrustedForItsHealth(t *testing.T) {
	inVirtualTime(t, 1, func(t *testing.T, s *stage) {
		behind(&s.targets[0])
		s.targets[0].Path = "old"
		s.watch(s.targets...)
		s.pass(10 * time.Minute)
		if e := s.evidence(0); e.Verdict != Unknown || !e.Unable || e.Tried {
			t.Errorf("%+v", e)
		}
		if n := len(s.port(0).get().dials) + len(s.gossip(0).get().dials); n != 0 {
			t.Errorf("%d connections", n)
		}
	})
}

// A program that serves one connection at a time must find none of ours in its way.
func TestForeignProgramHasOneConnectionAtATimeAndNoneIdle(t *testing.T) {
	for _, kind := range []fleet.ProbeKind{fleet.ProbeHTTP, fleet.ProbeTCP} {
		for _, script := range []string{"10m", "slow/300ms 10m", "slow/2s 10m", "hang 1m", "hangup 1m", "status/503 1m", "raw/junk 1m"} {
			inVirtualTime(t, 1, func(t *testing.T, s *stage) {
				s.targets[0].Kind, s.targets[0].Foreign, s.targets[0].Gossip, s.targets[0].ID = kind, true, noPort, ""
				s.watch(s.targets...)
				for word := range strings.FieldsSeq(script) {
					d, err := time.ParseDuration(word)
					if err != nil {
						s.do(0, word)
						continue
					}
					for range d / (10 * time.Millisecond) {
						s.pass(10 * time.Millisecond)
						n := s.port(0).open()
						if n > 1 || n > 0 && script == "10m" {
							t.Fatalf("%s, %q: %d connections are open", kind, script, n)
						}
					}
				}
				if script == "10m" {
					s.want(0, Good)
				}
			})
		}
	}
}

// It has its operator's interval and time-out, however many EDS servers there are.
func TestEDSServersTakeTurnsToCheckAForeignProgram(t *testing.T) {
	const servers, interval = 3, 2 * time.Second
	synctest.Test(t, func(t *testing.T) {
		first := newStage(t, 1, 0)
		stages := []*stage{first}
		for range servers - 1 {
			stages = append(stages, newStage(t, 0, 0))
		}
		for i, s := range stages {
			defer s.stop()
			if s != first {
				s.p.opts.Dial = first.net.dial
			}
			target := first.targets[0]
			target.Foreign, target.Gossip, target.Interval, target.Timeout = true, noPort, interval, 5*time.Second
			target.Turn = turns.Turn{Share: i, Shares: servers}
			s.p.Watch([]Target{target})
		}
		synctest.Wait()
		first.pass(10 * interval)
		began, before := time.Now(), len(first.port(0).get().dials)
		first.port(0).set(func(h *host) { h.slow = 1900 * time.Millisecond })
		first.pass(30 * interval)
		dials := first.port(0).get().dials[before:]
		for i := 1; i < len(dials); i++ {
			if d := dials[i].Sub(dials[i-1]); d != interval {
				t.Errorf("%v between two checks, %v after the start", d, dials[i].Sub(began))
			}
		}
		if len(dials) != 30 {
			t.Errorf("%d checks in %v, want 30", len(dials), 30*interval)
		}
		for _, s := range stages {
			if e := s.p.Evidence()[first.targets[0].Key]; e.Verdict != Good || e.Late {
				t.Errorf("it is %+v", e)
			}
		}
		first.do(0, "quit")
		first.pass(servers * interval)
		for _, s := range stages {
			if e := s.p.Evidence()[first.targets[0].Key]; e.Verdict != Dead {
				t.Errorf("it is %+v after it died", e)
			}
		}
	})
}

// Abandoned requests keep a program that serves one at a time busy.
func TestForeignProgramThatIsSilentHasTimeToCatchUp(t *testing.T) {
	const servers, timeout = 3, 5 * time.Second
	inVirtualTime(t, 1, func(t *testing.T, s *stage) {
		target := s.targets[0]
		target.Foreign, target.Gossip, target.Timeout, target.Turn = true, noPort, timeout, turns.Turn{Shares: servers}
		s.watch(target)
		s.pass(10 * time.Second)
		s.do(0, "hang")
		s.pass(time.Minute)
		s.want(0, Silent)
		before := len(s.port(0).get().dials)
		s.pass(time.Minute)
		if n := len(s.port(0).get().dials) - before; n < 2 || n > 4 {
			t.Errorf("%d checks in a minute, want one in 20 s", n)
		}
		s.do(0, "thaw")
		s.pass(servers*timeout + timeout)
		s.want(0, Good)
	})
}

// Two have registered one endpoint: what one of them sees is news for the other.
func TestConnectionThatBreaksHasOthersAtTheAddressChecked(t *testing.T) {
	inVirtualTime(t, 1, func(t *testing.T, s *stage) {
		other := s.targets[0]
		other.ID, other.Kind, other.Foreign, other.Gossip = "other", fleet.ProbeTCP, true, noPort
		s.watch(s.targets[0], other)
		s.pass(10 * time.Second)
		verdict := func() Verdict { return s.p.Evidence()[other.Key].Verdict }
		if verdict() != Good {
			t.Fatalf("it is %q", verdict())
		}
		s.do(0, "die")
		s.pass(time.Millisecond)
		if verdict() != Dead {
			t.Errorf("it is %q a millisecond after the other's connection broke", verdict())
		}
	})
}

// Two have registered a program that closes each connection in place of an answer: what each
// sees is no reason for the other to ask again at once.
func TestProgramThatHangsUpIsNotAskedWithoutEnd(t *testing.T) {
	inVirtualTime(t, 1, func(t *testing.T, s *stage) {
		first := s.targets[0]
		first.Foreign, first.Gossip = true, noPort
		other := first
		other.ID = "other"
		s.watch(first, other)
		s.pass(10 * time.Second)
		s.do(0, "hangup")
		before := len(s.port(0).get().dials)
		s.pass(10 * time.Second)
		if n := len(s.port(0).get().dials) - before; n > 60 {
			t.Errorf("%d connections in 10 s", n)
		}
	})
}
