package e2e

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// event is a server-sent event.
type event struct{ ID, Name, Data string }

// number is its place among those of its server, and which server that is.
func (e event) number(t *testing.T) (server string, n int) {
	t.Helper()
	server, last, _ := strings.Cut(e.ID, "-")
	return server, must2(strconv.Atoi(last))(t)
}

// stream is a reader of GET /events.
type stream struct {
	body  io.ReadCloser
	lines *bufio.Scanner
}

// listen begins to read events after the one with an id, or from now on if it is "".
func (h *harness) listen(lastID string) *stream {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 2*patience)
	h.t.Cleanup(cancel)
	req := must2(http.NewRequestWithContext(ctx, http.MethodGet, "http://"+h.Addresses.HTTP+"/events", http.NoBody))(h.t)
	if lastID != "" {
		req.Header.Set("Last-Event-ID", lastID)
	}
	resp := must2((&http.Transport{DisableKeepAlives: true}).RoundTrip(req))(h.t)
	if resp.StatusCode != http.StatusOK {
		h.t.Fatalf("GET /events: status %d", resp.StatusCode)
	}
	h.t.Cleanup(func() { _ = resp.Body.Close() })
	s := &stream{resp.Body, bufio.NewScanner(resp.Body)}
	s.lines.Buffer(nil, 1<<20)
	if !s.lines.Scan() || s.lines.Text() != ": rollcall" { // it is heard from here on
		h.t.Fatalf("the stream begins with %q, %v", s.lines.Text(), s.lines.Err())
	}
	return s
}

// next returns the next event; the test fails if the stream ends before it.
func (s *stream) next(t *testing.T) (e event) {
	t.Helper()
	for s.lines.Scan() {
		field, value, _ := strings.Cut(s.lines.Text(), ": ")
		switch {
		case field == "id":
			e.ID = value
		case field == "event":
			e.Name = value
		case field == "data":
			e.Data = value
		case field == "" && e.Name != "":
			return e
		}
	}
	t.Fatalf("the stream ended: %v", s.lines.Err())
	return e
}

// until returns the next event of a kind whose data has each of the parts.
func (s *stream) until(t *testing.T, name string, parts ...string) event {
	t.Helper()
	for {
		e := s.next(t)
		if e.Name == name && !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(e.Data, part) }) {
			return e
		}
	}
}

// consecutive fails the test unless these are all events of one server, each right
// after the other.
func consecutive(t *testing.T, events []event) {
	t.Helper()
	for i := 1; i < len(events); i++ {
		server, n := events[i-1].number(t)
		if next, m := events[i].number(t); next != server || m != n+1 {
			t.Fatalf("after %s comes %s", events[i-1].ID, events[i].ID)
		}
	}
}

// decisions makes n decisions about hosts that are not there, on ports from first on.
func (h *harness) decisions(first, n int) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for port := first; port < first+n; port++ {
		path := "/edsservice/" + h.Service + "/hosts/10.0.0.1:" + strconv.Itoa(port)
		if _, err := h.API.Expect(ctx, http.StatusOK, http.MethodPatch, path, `{"state":"drain"}`); err != nil {
			return err
		}
	}
	return nil
}

// A reader that drops again and again hears what one that stays hears.
func TestAReaderThatComesBackHasMissedNothing(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.eds()
	const all, each = 200, 7
	stays, drops := h.listen(""), h.listen("")
	var deciding sync.WaitGroup
	deciding.Go(func() {
		if err := h.decisions(1, all); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(deciding.Wait)
	var staid, dropped []event
	for range all {
		staid = append(staid, stays.next(t))
	}
	for len(dropped) < all {
		for range min(each, all-len(dropped)) {
			dropped = append(dropped, drops.next(t))
		}
		_ = drops.body.Close()
		drops = h.listen(dropped[len(dropped)-1].ID)
	}
	consecutive(t, staid)
	if !slices.Equal(staid, dropped) {
		t.Errorf("one that stays hears\n%v\none that drops\n%v", staid, dropped)
	}
	for i, e := range staid {
		if !strings.Contains(e.Data, fmt.Sprintf(`"host":"10.0.0.1:%d"`, i+1)) {
			t.Fatalf("event %d is %v", i, e)
		}
	}
}

// listOf is a list of so many hosts.
func listOf(n int) string {
	ports := make([]int, n)
	for i := range ports {
		ports[i] = 1 + i
	}
	return stage.HostList(ports...)
}

func TestAReaderThatWasAwayTooLongIsToldToReset(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	server := h.eds()
	must(t, 0, h.decisions(1, 1))
	first := h.listen("")
	must(t, 0, h.decisions(2, 3))
	began := first.next(t)
	h.request(http.StatusCreated, "POST", "/edsservice/large", listOf(4200)) // more events than are kept
	late := h.listen(began.ID)
	reset := late.next(t)
	if reset.Name != "reset" || reset.Data != "{}" {
		t.Fatalf("a reader that missed too much is told %+v", reset)
	}
	must(t, 0, h.decisions(5, 2))
	after := []event{reset, late.next(t), late.next(t)}
	consecutive(t, after)
	again := h.listen(reset.ID) // it goes on after the reset
	if got := []event{again.next(t), again.next(t)}; !slices.Equal(got, after[1:]) {
		t.Errorf("after the reset come %v, then %v", after[1:], got)
	}

	h.request(http.StatusNoContent, "DELETE", "/edsservice/large", "") // or the next server has too many to know its first
	must(t, 0, server.Stop(within(t, patience)))
	h.eds()
	before, _ := reset.number(t)
	for _, id := range []string{before + "-1", reset.ID, reset.ID + "0", "x", "-"} {
		if e := h.listen(id).next(t); e.Name != "reset" {
			t.Errorf("who has heard of %q is told %+v", id, e)
		}
	}
}
