package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/client"
	"github.com/rollcall-fleet/rollcall/envoy"
)

// twoEnvoys is a fleet whose second Envoy can be made to take nothing.
type twoEnvoys struct {
	*harness
	second int // its process id
}

func newTwoEnvoys(t *testing.T) twoEnvoys {
	t.Helper()
	h := newHarness(t)
	h.eds()
	h.envoy(envoy.GRPC)
	return twoEnvoys{h, h.beside(envoy.DeltaADS)}
}

// childOf is the process that another one has started.
func childOf(t *testing.T, parent int) int {
	t.Helper()
	for _, path := range must2(filepath.Glob("/proc/[0-9]*/stat"))(t) {
		stat, _ := os.ReadFile(path) // it may have ended
		_, after, _ := strings.Cut(string(stat), ") ")
		if fields := strings.Fields(after); len(fields) > 1 && fields[1] == strconv.Itoa(parent) {
			return must2(strconv.Atoi(strings.Split(path, "/")[2]))(t)
		}
	}
	t.Fatalf("process %d has no child", parent)
	panic("not reached")
}

// signal has the second Envoy stop and go on.
func (e twoEnvoys) signal(sig syscall.Signal) {
	e.t.Helper()
	must(e.t, 0, syscall.Kill(e.second, sig))
}

// acked waits until so many of the clients have acknowledged what they were last told
// of the host on a port.
func (e twoEnvoys) acked(port int, want client.Acked) {
	e.t.Helper()
	e.eventually("acknowledged", func(ctx context.Context) error {
		var host client.Decided
		if err := e.API.Get(ctx, "/edsservice/"+e.Service+"/hosts/"+local(port), &host); err != nil {
			return err
		}
		if host.Endpoint == nil || host.Endpoint.Acked != want {
			return fmt.Errorf("the host is %+v, want it acknowledged %+v", host.Endpoint, want)
		}
		return nil
	})
}

// behind is since when the client of each transport is.
func (e twoEnvoys) behind() map[string]time.Time {
	e.t.Helper()
	var answer struct{ Clients []client.Follower }
	must(e.t, 0, e.API.Get(within(e.t, patience), "/clients", &answer))
	behind := make(map[string]time.Time)
	for _, c := range answer.Clients {
		for _, s := range c.Services {
			behind[c.Transport] = s.BehindSince
		}
	}
	return behind
}

func TestWhoIsBehindIsSeenUntilItHasCaughtUp(t *testing.T) {
	t.Parallel()
	e := newTwoEnvoys(t)
	u := e.upstream()
	e.acked(u.Port, client.Acked{Have: 2, Of: 2})
	if b := e.behind(); len(b) != 2 || !b["eds"].IsZero() || !b["delta-ads"].IsZero() {
		t.Errorf("behind are %v", b)
	}
	e.signal(syscall.SIGSTOP)
	asked := time.Now()
	e.decide(200, "PATCH", u.ID, `{"state":"drain"}`)
	e.acked(u.Port, client.Acked{Have: 1, Of: 2})
	var first map[string]time.Time
	e.eventually("the other Envoy has both steps of the removal", func(context.Context) error {
		if first = e.behind(); !first["eds"].IsZero() {
			return fmt.Errorf("behind are %v", first)
		}
		return nil
	})
	since := first["delta-ads"]
	if since.Before(asked.Add(-time.Millisecond)) || since.After(time.Now()) {
		t.Errorf("it was asked at %s, and behind are %v", asked, first)
	}
	e.decide(200, "PATCH", u.ID, `{"state":null}`)
	e.acked(u.Port, client.Acked{Have: 1, Of: 2})
	if again := e.behind()["delta-ads"]; !again.Equal(since) {
		t.Errorf("behind since %s, with one more since %s", since, again)
	}
	e.signal(syscall.SIGCONT)
	e.acked(u.Port, client.Acked{Have: 2, Of: 2})
	if b := e.behind(); !b["eds"].IsZero() || !b["delta-ads"].IsZero() {
		t.Errorf("behind are still %v", b)
	}
}

// counted waits until so many changes of a kind were acknowledged by everybody.
func (e twoEnvoys) counted(kind string, want float64) {
	e.t.Helper()
	e.eventually(kind+" is counted", func(ctx context.Context) error {
		got, err := e.changes(ctx, kind)
		if err == nil && got != want {
			err = fmt.Errorf("%v are, want %v", got, want)
		}
		return err
	})
}

func (e twoEnvoys) changes(ctx context.Context, kind string) (float64, error) {
	return e.metric(ctx, fmt.Sprintf("rollcall_change_acknowledged_seconds_count{kind=%q}", kind))
}

// The metric of how long changes take counts each once everybody has it, and not
// before.
func TestChangesAreMeasuredUntilEverybodyHasThem(t *testing.T) {
	t.Parallel()
	e := newTwoEnvoys(t)
	a, b := e.upstream(), e.upstream()
	e.counted("serve", 2)
	must(t, 0, a.Stop(within(t, patience)))
	e.counted("drain", 1)
	e.acked(b.Port, client.Acked{Have: 2, Of: 2})

	e.signal(syscall.SIGSTOP)
	stopped := time.Now()
	b.Kill()
	e.letsGoOf(b) // the Envoy that runs
	if n, err := e.changes(within(t, patience), "lose"); err == nil {
		t.Errorf("%v are counted that one has not acknowledged", n)
	}
	time.Sleep(time.Second) // that it takes shows in the sum
	e.signal(syscall.SIGCONT)
	e.counted("lose", 1)
	sum := must2(e.metric(within(t, patience), `rollcall_change_acknowledged_seconds_sum{kind="lose"}`))(t)
	if sum < 0.9 || sum > time.Since(stopped).Seconds() {
		t.Errorf("it is said to have taken %.3f s", sum)
	}
	e.counted("serve", 2)
	e.counted("drain", 1)
}
