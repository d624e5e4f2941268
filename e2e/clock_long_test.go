//go:build long

package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// The wall clock of one of two EDS servers is set an hour ahead and back: durations end
// on time at both, a moment is noticed within 30 s, and whatever was decided meanwhile
// can be overruled at both.
func TestLongWallClockOfOneServerIsSet(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	binary := must2(BuildWithClock(ctx, dir))(t)
	clock := filepath.Join(dir, "clock")
	set := func(seconds string) {
		t.Helper()
		if err := os.WriteFile(clock, []byte(seconds), 0o600); err != nil {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
	set("+0")
	t.Setenv(ClockVariable, clock)
	h := newHarness(t)
	h.Binary = binary
	other := must2(stage.Fresh())(t)
	h.eds("--join", other.Gossip)
	t.Setenv(ClockVariable, "")
	second := must2(h.StartEDSAt(other, "--join", h.Addresses.Gossip))(t)
	apis := []*stage.API{h.API, stage.NewAPI(other.HTTP)}
	if err := second.Await(within(t, patience), apis[1].Ready); err != nil {
		t.Fatal(err)
	}
	decide := func(api *stage.API, method, path, body string, want int) {
		t.Helper()
		must2(api.Expect(within(t, patience), want, method, path, body))(t)
	}
	// inForce waits until the servers say so of the override, and returns how long it took.
	inForce := func(service string, want bool, of ...*stage.API) time.Duration {
		t.Helper()
		began := time.Now()
		for _, api := range of {
			if err := stage.Eventually(within(t, patience), func(ctx context.Context) error {
				body, err := api.Expect(ctx, http.StatusOK, http.MethodGet, "/overrides", "")
				if err == nil && strings.Contains(body, `"`+service+`"`) != want {
					err = fmt.Errorf("want %q in force: %v, got %s", service, want, body)
				}
				return err
			}); err != nil {
				t.Fatal(err)
			}
		}
		return time.Since(began)
	}
	const drain, forFive = `{"state":"drain"}`, `{"state":"drain","expires_in":"5s"}`
	onTime := func(service string) {
		t.Helper()
		if took := inForce(service, false, apis...); took < 3*time.Second || took > 8*time.Second {
			t.Errorf("what lasts 5 s ended after %s", took)
		}
	}

	decide(apis[0], http.MethodPatch, "/edsservice/set-ahead/hosts/10.1.2.3:80", forFive, 200)
	inForce("set-ahead", true, apis...)
	set("+3600")
	onTime("set-ahead")

	decide(apis[0], http.MethodPatch, "/edsservice/made-ahead/hosts/10.1.2.3:80", forFive, 200)
	decide(apis[0], http.MethodPatch, "/edsservice/overruled/hosts/10.1.2.3:80", drain, 200)
	inForce("made-ahead", true, apis...)
	inForce("overruled", true, apis...)
	set("+0")
	onTime("made-ahead")

	decide(apis[1], http.MethodDelete, "/edsservice/overruled/hosts/10.1.2.3:80", "", 204)
	inForce("overruled", false, apis...)
	decide(apis[0], http.MethodPatch, "/edsservice/overruled/hosts/10.1.2.3:80", drain, 200)
	inForce("overruled", true, apis...)
	decide(apis[0], http.MethodDelete, "/edsservice/overruled/hosts/10.1.2.3:80", "", 204)
	inForce("overruled", false, apis...)

	until := url.QueryEscape(time.Now().Add(50 * time.Minute).UTC().Format(time.RFC3339))
	decide(apis[0], http.MethodPost, "/edsservice/moment?until="+until, `{"hosts":[{"ip_address":"10.1.2.3","port":80}]}`, 201)
	inForce("moment", true, apis...)
	set("+3600")
	if took := inForce("moment", false, apis[0]); took > 33*time.Second {
		t.Errorf("a clock that was set was noticed after %s", took)
	}
	inForce("moment", true, apis[1])
}
