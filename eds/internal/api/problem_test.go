package api

import (
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestAFaultAfterAChangeDoesNotSayThatNothingChanged(t *testing.T) {
	a := &api{Options: Options{Refused: func(string) {}, Logger: slog.New(slog.DiscardHandler)}}
	for method, want := range map[string]string{http.MethodGet: "the server failed, its log", http.MethodPost: "may have changed something", http.MethodDelete: "may have changed something"} {
		w := httptest.NewRecorder()
		a.edge(func(http.ResponseWriter, *http.Request) error { return errors.New("disk") }).ServeHTTP(w, httptest.NewRequest(method, "/keys", nil))
		if w.Code != http.StatusInternalServerError || !strings.Contains(w.Body.String(), want) || strings.Contains(w.Body.String(), "nothing") {
			t.Errorf("%s: %d %s", method, w.Code, w.Body)
		}
	}
}
