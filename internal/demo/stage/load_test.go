package stage

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
)

// answering is a server in Envoy's place; the client's address is returned.
func answering(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return strings.TrimPrefix(s.URL, "http://")
}

func TestLoadKeepsEveryAnswer(t *testing.T) {
	id := uuid.NewString()
	var served, refused atomic.Int64
	client := NewClient(answering(t, func(w http.ResponseWriter, _ *http.Request) {
		if served.Add(1)%5 == 0 {
			refused.Add(1)
			http.Error(w, "no", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte(id))
	}), true)
	defer client.Close()
	load := StartLoad(bounded(t), client, 500)
	if _, err := load.First(bounded(t), func(a Answer) bool { return a.Status == http.StatusServiceUnavailable }); err != nil {
		t.Fatal(err)
	}
	answers := load.Stop()
	if int64(len(answers)) != served.Load() || int64(len(answers.Failed())) != refused.Load() {
		t.Errorf("%d answers, %d failed; the server saw %d and refused %d",
			len(answers), len(answers.Failed()), served.Load(), refused.Load())
	}
}

func TestAnswerWithoutAUUIDIsAFailure(t *testing.T) {
	for _, body := range []string{"", "hello", strings.Repeat("x", 36)} {
		client := NewClient(answering(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }), false)
		if a := client.Get(t.Context()); a.Failure() == nil || a.ID() != "" {
			t.Errorf("body %q passes for an upstream's", body)
		}
	}
}

func TestExpectIDsWantsAllAndNoOther(t *testing.T) {
	a, b := uuid.NewString(), uuid.NewString()
	var n atomic.Int64
	client := NewClient(answering(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte([]string{a, b}[n.Add(1)%2]))
	}), false)
	if err := client.ExpectIDs(t.Context(), a, b); err != nil {
		t.Error(err)
	}
	for _, want := range [][]string{{a}, {a, b, uuid.NewString()}} {
		if client.ExpectIDs(t.Context(), want...) == nil {
			t.Errorf("%q and %q answered, and %q were said to", a, b, want)
		}
	}
}
