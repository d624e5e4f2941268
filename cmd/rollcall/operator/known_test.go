package operator

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/cmd/rollcall/cli"
)

func TestADecisionForAServiceThatNobodyKnowsIsRefused(t *testing.T) {
	r := newRig(t)
	r.play(
		step{"drain wbe 10.0.0.9:80", cli.ExitNotFound, `neither gossip nor an operator knows service "wbe": there is "web", "other"; --ahead decides all the same`},
		step{"weight wbe 10.0.0.9:80 5", cli.ExitNotFound, `there is "web", "other"; --ahead`},
		step{"undrain wbe 10.0.0.9:80", cli.ExitNotFound, `there is "web", "other"`},
		step{"hosts wbe", cli.ExitNotFound, `there is "web", "other"`},
		step{"pin wbe 10.0.0.9:80", cli.ExitNotFound, `there is "web", "other"`},
		step{"drain wbe 1f0c", cli.ExitNotFound, `there is "web", "other"`},
	)
	if list := r.overrides(); len(list) > 0 {
		t.Errorf("in force is %+v", list)
	}
	r.play(
		step{"exclude new 10.0.0.9:80 --ahead", 0, "nobody has this address yet"},
		step{"drain new 10.0.0.8:80", 0, "drain by ann"}, // a decision has heard of it
		step{"undrain new 10.0.0.9:80", 0, "nothing is decided"},
	)
}

func TestAServiceOfWhichADecisionIsInForceIsNotMisspelt(t *testing.T) {
	r := newRig(t)
	r.play(
		step{"drain new 10.0.0.9:80 --ahead", 0, "nobody has this address yet"},
		step{"overrides new", 0, "10.0.0.9:80"},
	)
	const waits = `service "new" has no hosts; overrides that wait for its hosts: 1`
	for _, args := range [][]string{{"hosts", "new"}, {"pin", "new", "10.0.0.9:80"}} {
		if got := rollcall(t.Context(), args...); got.code != cli.ExitNotFound || !strings.HasPrefix(got.err.Error(), waits) || strings.Contains(got.err.Error(), "web") {
			t.Errorf("%q: exit code %d, %v", args, got.code, got.err)
		}
	}
}

func TestWhatIsMisspeltIsNotAnsweredWithNothing(t *testing.T) {
	r := newRig(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if got := rollcall(ctx, "watch", "wbe"); got.code != cli.ExitNotFound || !strings.Contains(got.err.Error(), `there is "web", "other"`) {
		t.Errorf("watched, exit code %d, %v", got.code, got.err)
	}
	r.play(
		step{"overrides wbe", cli.ExitNotFound, `there is "web", "other"`},
		step{"undrain web 10.0.0.99:80", cli.ExitNotFound, "does not exist and has no override"},
		step{"weight web 10.0.0.99:80 auto", cli.ExitNotFound, "does not exist and has no override"},
		step{"undrain web 127.0.0.1:8081", 0, "nothing is decided"},
		step{"weight web 127.0.0.1:8081 auto", 0, "nothing is decided"},
		step{"weight web 10.0.0.99:80 5", 0, "weight 5 by ann"},
		step{"weight web 10.0.0.99:80 auto", 0, "nothing is decided"},
	)
}

func TestADecisionIsTakenWhileNobodyCanSayWhetherTheServiceIsThere(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if req.Method == http.MethodGet {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, `{"service":"web","host":"10.0.0.9:80"}`)
	}))
	defer s.Close()
	if got := rollcall(t.Context(), "drain", "web", "10.0.0.9:80", "--server", s.URL); got.err != nil {
		t.Error(got.err)
	}
}

func TestNamesThatAreMostAlikeAreSuggested(t *testing.T) {
	names := []string{"payments", "users", "basket", "payment-api", "search", "pay", "orders"}
	if got, want := alike("paymnets", names), `there is "payments", "basket", "pay", "orders", "payment-api" and 2 more`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := alike("x", nil); got != "there is none at all" {
		t.Error(got)
	}
	for pair, want := range map[[2]string]int{{"", ""}: 0, {"abc", ""}: 3, {"", "ab"}: 2, {"abc", "abc"}: 0, {"abc", "axc"}: 1, {"abc", "bc"}: 1, {"kitten", "sitting"}: 3} {
		if got := distance(pair[0], pair[1]); got != want {
			t.Errorf("between %q are %d, want %d", pair, got, want)
		}
	}
}
