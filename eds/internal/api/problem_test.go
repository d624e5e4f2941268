package api

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestFaultAfterAChangeDoesNotClaimThatNothingChanged(t *testing.T) {
	a := &api{Options: Options{Refused: func(string) {}, Logger: slog.New(slog.DiscardHandler)}}
	for method, want := range map[string]string{http.MethodGet: "the server failed: see its log", http.MethodPost: "may have made the change", http.MethodDelete: "may have made the change"} {
		w := httptest.NewRecorder()
		a.edge(func(http.ResponseWriter, *http.Request) error { return errors.New("disk") }).ServeHTTP(w, httptest.NewRequest(method, "/keys", nil))
		if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), want) || strings.Contains(w.Body.String(), "nothing") {
			t.Errorf("%s: %d %s", method, w.Code, w.Body)
		}
	}
}
