package middleware

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/rollcall-fleet/rollcall/internal/panics"
)

// panicking serves a handler that panics at two paths, and counts what was caught.
func panicking(t *testing.T) (server *httptest.Server, log *bytes.Buffer, caught *int) {
	t.Helper()
	log, caught = new(bytes.Buffer), new(int)
	next := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/early":
			panic("a bug")
		case "/late":
			_, _ = io.WriteString(w, "begun")
			_ = http.NewResponseController(w).Flush()
			panic("a bug")
		case "/aborted":
			panic(http.ErrAbortHandler)
		}
	})
	server = httptest.NewServer(New(next, Options{
		Listen: netip.MustParseAddr("127.0.0.1"), Logger: slog.New(slog.DiscardHandler),
		Panics: panics.Catcher{Logger: slog.New(slog.NewTextHandler(log, nil)), Count: func(string) { *caught++ }},
	}))
	t.Cleanup(server.Close)
	return server, log, caught
}

func TestPanicOfAHandlerIsAnsweredAndLogged(t *testing.T) {
	server, log, caught := panicking(t)
	for range 2 { // the server goes on
		resp, err := http.Get(server.URL + "/early")
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusInternalServerError || !strings.Contains(string(body), "see its log") {
			t.Errorf("the answer is %d %s", resp.StatusCode, body)
		}
	}
	server.Close() // waits for the handlers
	if *caught != 2 || strings.Count(log.String(), "level=ERROR") != 2 || !strings.Contains(log.String(), "panic_test.go") {
		t.Errorf("%d were counted, the log is %s", *caught, log)
	}
}

func TestPanicAfterTheAnswerBeganBreaksTheConnection(t *testing.T) {
	server, _, caught := panicking(t)
	resp, err := http.Get(server.URL + "/late")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("an answer that was cut short reads as whole: %q", body)
	}
	server.Close() // waits for the handlers
	if *caught != 1 {
		t.Errorf("%d were counted", *caught)
	}
}

func TestHandlerThatAbortsOnPurposeIsNoPanic(t *testing.T) {
	server, log, caught := panicking(t)
	if resp, err := http.Get(server.URL + "/aborted"); err == nil {
		resp.Body.Close()
		t.Error("it was answered")
	}
	server.Close() // waits for the handlers
	if *caught != 0 || log.Len() > 0 {
		t.Errorf("%d were counted, the log is %s", *caught, log)
	}
}
