package e2e

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
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
