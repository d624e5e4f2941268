package api

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
)

func TestGuardIsShownAndEndsWhenConfirmed(t *testing.T) {
	r := newRig(t)
	snap := r.registry.Snapshot()
	snap.Services[0].Guard = &registry.Guard{Since: start, Until: start.Add(10 * time.Minute), Held: 6}
	snap.Isolated = true
	r.registry.stale, r.registry.guarded = snap, "myservice"

	want := `"guard":{"since":"2026-01-02T03:04:05Z","until":"2026-01-02T03:14:05Z","held":6}`
	check := r.form()
	check(answers{http.StatusOK, http.MethodGet, "/edsservice/myservice", ""})
	check(answers{http.StatusOK, http.MethodGet, "/guards", ""})
	if body := r.must(http.StatusOK, http.MethodGet, "/edsservice/myservice", "").body; !strings.Contains(body, want) {
		t.Errorf("the service is %s, want %s in it", body, want)
	}
	if body := r.must(http.StatusOK, http.MethodGet, "/guards", "").body; !strings.Contains(body, `"isolated":true`) || !strings.Contains(body, `"held":6`) {
		t.Errorf("the guards are %s", body)
	}
	r.must(http.StatusNoContent, http.MethodDelete, "/guards/myservice", "")
	r.must(http.StatusNotFound, http.MethodDelete, "/guards/other", "")
	check(answers{http.StatusOK, http.MethodGet, "/audit", ""})
	if body := r.must(http.StatusOK, http.MethodGet, "/audit", "").body; strings.Count(body, `"action"`) != 1 ||
		!strings.Contains(body, `"action":"confirmed"`) || !strings.Contains(body, `"service":"myservice"`) || !strings.Contains(body, `"actor":"`) {
		t.Errorf("the audit is %s", body)
	}
	r.must(http.StatusBadRequest, http.MethodDelete, "/guards/", "")
}
