package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
	"github.com/rollcall-fleet/rollcall/eds/internal/xds"
	"github.com/rollcall-fleet/rollcall/fleet"
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func endpoint(last byte, served bool) *registry.Host {
	return &registry.Host{
		Endpoint: fleet.Endpoint{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, last}), 80), Weight: 1},
		State:    registry.StateHealthy, Served: served,
	}
}

func snapshot(hosts ...*registry.Host) *registry.Snapshot {
	return &registry.Snapshot{Services: []registry.Service{{Name: "s", Mode: override.Auto, Hosts: hosts}}}
}

// told are facts as "kind change what".
func told(t *testing.T, facts []fact) []string {
	t.Helper()
	lines := []string{}
	for _, f := range facts {
		b, err := json.Marshal(f.data)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, fmt.Sprintf("%s %s", f.kind, b))
	}
	return lines
}

func wantTold(t *testing.T, facts []fact, want ...string) {
	t.Helper()
	got := told(t, facts)
	ok := len(got) == len(want)
	for i := range min(len(got), len(want)) {
		for part := range strings.FieldsSeq(want[i]) {
			ok = ok && strings.Contains(got[i], part)
		}
	}
	if !ok {
		t.Errorf("told\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestSnapshotsAreCompared(t *testing.T) {
	heavier := endpoint(1, true)
	heavier.Weight = 5
	later := endpoint(1, true)
	later.Since = epoch
	guarded := snapshot(endpoint(1, true))
	guarded.Services[0].Guard = &registry.Guard{Since: epoch, Held: 3}
	member := func(change func(*fleet.Member)) *registry.Snapshot {
		m := fleet.Member{ID: uuid.UUID{1}, Role: fleet.RoleUpstream, Service: "s", Liveness: fleet.Alive}
		change(&m)
		return &registry.Snapshot{Members: []*fleet.Member{new(m)}}
	}
	alive := member(func(*fleet.Member) {})
	for name, tt := range map[string]struct {
		was, now *registry.Snapshot
		want     []string
	}{
		"nothing":                     {snapshot(endpoint(1, true)), snapshot(endpoint(1, true)), nil},
		"only a time":                 {snapshot(endpoint(1, true)), snapshot(later), nil},
		"a new endpoint":              {snapshot(endpoint(2, true)), snapshot(endpoint(1, true), endpoint(2, true)), []string{`endpoint "added" "10.0.0.1" "served":true`}},
		"an endpoint that has gone":   {snapshot(endpoint(1, true), endpoint(2, true)), snapshot(endpoint(2, true)), []string{`endpoint "removed" "10.0.0.1" "served":false`}},
		"one that is not served":      {snapshot(endpoint(1, true)), snapshot(endpoint(1, false)), []string{`endpoint "changed" "served":false`}},
		"another weight":              {snapshot(endpoint(1, true)), snapshot(heavier), []string{`endpoint "changed" "load_balancing_weight":5`}},
		"a new service":               {&registry.Snapshot{}, snapshot(endpoint(1, true)), []string{`endpoint "added" "service":"s"`}},
		"a service that has gone":     {snapshot(endpoint(1, true)), &registry.Snapshot{}, []string{`endpoint "removed" "service":"s"`}},
		"a second claim says nothing": {snapshot(endpoint(1, true)), snapshot(endpoint(1, true), endpoint(1, false)), nil},
		"a guard":                     {snapshot(endpoint(1, true)), guarded, []string{`guard "added" "service":"s" "held":3`}},
		"a guard that lets go":        {guarded, snapshot(endpoint(1, true)), []string{`guard "removed" "service":"s"`}},
		"isolation":                   {&registry.Snapshot{}, &registry.Snapshot{Isolated: true}, []string{`guard "added"`}},
		"the end of it":               {&registry.Snapshot{Isolated: true}, &registry.Snapshot{}, []string{`guard "removed"`}},
		"a new member":                {&registry.Snapshot{}, alive, []string{`member "added" "alive"`}},
		"a dead one":                  {alive, member(func(m *fleet.Member) { m.Liveness = fleet.Dead }), []string{`member "changed" "dead"`}},
		"a forgotten one":             {alive, &registry.Snapshot{}, []string{`member "removed"`}},
		"one seen again":              {alive, member(func(m *fleet.Member) { m.Since = epoch }), nil},
	} {
		t.Run(name, func(t *testing.T) { wantTold(t, diffSnapshots(tt.was, tt.now), tt.want...) })
	}
}

func TestOverridesAreCompared(t *testing.T) {
	made := func(host string, wall int64, until time.Time) override.Override {
		return override.Override{Key: override.Key{Service: "s", Host: host}, Stamp: override.Stamp{Wall: wall}, State: override.Drain, Until: until}
	}
	was := []override.Override{made("10.0.0.1:80", 1, time.Time{}), made("10.0.0.2:80", 1, epoch), made("10.0.0.3:80", 1, epoch.Add(time.Hour)), made("10.0.0.4:80", 1, time.Time{})}
	now := []override.Override{made("10.0.0.1:80", 2, time.Time{}), made("10.0.0.4:80", 1, time.Time{}), made("10.0.0.5:80", 1, time.Time{})}
	wantTold(t, diffOverrides(was, now, epoch),
		`override "changed" "10.0.0.1:80"`, `override "expired" "10.0.0.2:80"`, `override "removed" "10.0.0.3:80"`, `override "added" "10.0.0.5:80" "drain"`)
}

func TestClientsAreCompared(t *testing.T) {
	client := func(second int, peer string, nack *xds.NACK) xds.Client {
		return xds.Client{Node: "n", Transport: xds.TransportREST, Peer: peer, Connected: epoch.Add(time.Duration(second) * time.Second), NACK: nack}
	}
	was := []xds.Client{client(1, "a:1", nil), client(2, "a:1", nil), client(3, "a:1", nil)}
	now := []xds.Client{client(2, "a:2", nil), client(3, "a:1", &xds.NACK{Detail: "bad"}), client(4, "a:1", nil)}
	wantTold(t, diffClients(was, now), `client "removed"`, `client "changed" "refused":"bad"`, `client "added" "node":"n"`)
}

func newHub(list *[]override.Override) *Hub {
	return New(Options{
		Overrides: func() ([]override.Override, uint64) { return *list, uint64(len(*list)) },
		Clients:   func(uint64) ([]xds.Client, uint64) { return nil, 0 },
	})
}

func many(n int) []fact {
	facts := make([]fact, n)
	for i := range facts {
		facts[i] = fact{KindMember, i}
	}
	return facts
}

// numbers are the data of all that r can take.
func numbers(t *testing.T, r *Reader) (numbers []string, last string) {
	t.Helper()
	for {
		taken, err := r.Take()
		if err != nil {
			t.Fatal(err)
		}
		if len(taken) == 0 {
			return numbers, last
		}
		for _, e := range taken {
			numbers, last = append(numbers, string(e.Kind)+string(e.Data)), e.ID
		}
	}
}

func TestReaderContinuesWhereItWas(t *testing.T) {
	h := newHub(new([]override.Override))
	h.add(many(3))
	r, err := h.Subscribe("")
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := numbers(t, r); len(got) != 0 {
		t.Errorf("a new reader is told %v", got)
	}
	h.add(many(2))
	got, id := numbers(t, r)
	if want := []string{"member0", "member1"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	r.Close()
	h.add(many(atOnce + 1))
	if r, err = h.Subscribe(id); err != nil {
		t.Fatal(err)
	}
	select {
	case <-r.More():
	default:
		t.Error("there is nothing to take")
	}
	if got, _ := numbers(t, r); len(got) != atOnce+1 || got[0] != "member0" {
		t.Errorf("after %s come %d: %v", id, len(got), got)
	}
}

func TestReaderThatCannotContinueGetsAReset(t *testing.T) {
	h, other := newHub(new([]override.Override)), newHub(new([]override.Override))
	h.add(many(1))
	old := h.id(h.last)
	h.add(many(Kept + 1))
	for name, id := range map[string]string{"too old": old, "of another server": other.id(1), "not one": "x", "of the future": h.id(h.last + 1)} {
		r, err := h.Subscribe(id)
		if err != nil {
			t.Fatal(err)
		}
		got, last := numbers(t, r)
		if !slices.Equal(got, []string{"reset{}"}) || last != h.id(h.last) {
			t.Errorf("%s: got %v, %s", name, got, last)
		}
		r.Close()
	}
}

func TestOnlyTheSlowReaderIsDisconnected(t *testing.T) {
	h := newHub(new([]override.Override))
	slow, err1 := h.Subscribe("")
	quick, err2 := h.Subscribe("")
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	h.add(many(Kept))
	if got, _ := numbers(t, quick); len(got) != Kept {
		t.Errorf("the quick one has %d", len(got))
	}
	h.add(many(1))
	if _, err := slow.Take(); !errors.Is(err, ErrSlow) {
		t.Errorf("the slow one has %v", err)
	}
	if got, _ := numbers(t, quick); len(got) != 1 {
		t.Errorf("the quick one has %d more", len(got))
	}
}

func TestReadersAreBoundedAndEndWithTheHub(t *testing.T) {
	h := newHub(new([]override.Override))
	var readers []*Reader
	for range DefaultMaxReaders {
		r, err := h.Subscribe("")
		if err != nil {
			t.Fatal(err)
		}
		readers = append(readers, r)
	}
	if _, err := h.Subscribe(""); !errors.Is(err, ErrFull) {
		t.Errorf("one more: %v", err)
	}
	readers[0].Close()
	if _, err := h.Subscribe(""); err != nil {
		t.Errorf("in the place of one that went: %v", err)
	}
	h.Close()
	<-readers[1].Done()
	if _, err := h.Subscribe(""); !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v", err)
	}
}

func TestHubReportsSnapshotsAndClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var list []override.Override
		var clients atomic.Pointer[[]xds.Client]
		clients.Store(&[]xds.Client{})
		asked := 0
		h := New(Options{
			Overrides: func() ([]override.Override, uint64) { return list, uint64(len(list)) },
			Clients: func(known uint64) ([]xds.Client, uint64) {
				now := slices.Clone(*clients.Load())
				if asked++; known == uint64(len(now)) {
					return nil, known
				}
				return now, uint64(len(now))
			},
		})
		ctx, stop := context.WithCancel(t.Context())
		go h.Run(ctx)
		r, err := h.Subscribe("")
		if err != nil {
			t.Fatal(err)
		}
		next := func(want ...string) {
			t.Helper()
			synctest.Wait()
			var got []string
			taken, err := r.Take()
			for _, e := range taken {
				got = append(got, string(e.Kind))
			}
			if err != nil || !slices.Equal(got, want) {
				t.Errorf("got %v, %v, want %v", got, err, want)
			}
		}
		list = []override.Override{{Key: override.Key{Service: "s", Host: "10.0.0.1:80"}, State: override.Drain}}
		h.Update(snapshot(endpoint(1, false)))
		next("override", "endpoint")
		h.Update(snapshot(endpoint(1, false)))
		next()
		clients.Store(&[]xds.Client{{Node: "n", Connected: epoch}})
		time.Sleep(clientsEvery)
		next("client")
		time.Sleep(clientsEvery)
		next() // they are as they were
		last := h.id(h.last)
		r.Close()
		clients.Store(&[]xds.Client{{Node: "n", Connected: epoch}, {Node: "m", Connected: epoch}})
		time.Sleep(clientsEvery) // reported when it happens, even without a reader
		if r, err = h.Subscribe(last); err != nil {
			t.Fatal(err)
		}
		next("client")
		stop()
		<-r.Done()
		synctest.Wait()
	})
}

func TestResetHidesNoLaterEvent(t *testing.T) {
	h := newHub(new([]override.Override))
	h.add(many(1))
	r, err := h.Subscribe("of another server")
	if err != nil {
		t.Fatal(err)
	}
	h.add(many(1))
	<-r.More()
	if got, err := r.Take(); err != nil || len(got) != 1 || got[0].Kind != Reset {
		t.Fatalf("got %v, %v", got, err)
	}
	select {
	case <-r.More():
	default:
		t.Error("nothing says that there is more")
	}
}

// A start brings thousands of clients at once, which push out all else unless
// there is a reader.
func TestFloodOfClientsReachesActiveReaders(t *testing.T) {
	for _, tc := range []struct {
		readers, clients, want int
	}{{0, Kept / 4, Kept / 4}, {0, Kept/4 + 1, 0}, {1, Kept/4 + 1, Kept/4 + 1}} {
		h := newHub(new([]override.Override))
		h.Clients = func(uint64) ([]xds.Client, uint64) {
			list := make([]xds.Client, tc.clients)
			for i := range list {
				list[i].Node = fmt.Sprint(i)
			}
			return list, 1
		}
		for range tc.readers {
			if _, err := h.Subscribe(""); err != nil {
				t.Fatal(err)
			}
		}
		h.look()
		if h.last != uint64(tc.want) {
			t.Errorf("%d clients and %d readers make %d events, want %d", tc.clients, tc.readers, h.last, tc.want)
		}
	}
}
