package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// writer decides over HTTP again and again, and keeps what was answered. Each of its
// writes has a reason of its own, by which it is known afterwards.
type writer struct {
	api   *stage.API
	name  string
	count int

	mu       sync.Mutex
	answered []string            // the reasons of the writes that got a 2xx
	latest   map[string]string   // the reason of the last of them, by what it was about
	since    map[string][]string // those of the writes after that one, which nobody answered with a 2xx
}

// nth is the write with a number: its method, what it is about, and its body.
func (w *writer) nth(n int, reason string) (method, path, body string) {
	host := fmt.Sprintf("/edsservice/%s/hosts/10.0.0.1:80", w.name)
	list := fmt.Sprintf("/edsservice/%s-list", w.name)
	query := "?reason=" + reason
	switch n % 6 {
	case 0:
		return http.MethodPatch, host, fmt.Sprintf(`{"state":"drain","reason":%q}`, reason)
	case 1:
		return http.MethodPost, list + query, stage.HostList(1)
	case 2:
		return http.MethodPatch, host, fmt.Sprintf(`{"load_balancing_weight":5,"reason":%q}`, reason)
	case 3:
		return http.MethodPut, list + query, stage.HostList(1, 2)
	case 4:
		return http.MethodDelete, host + query, ""
	default:
		return http.MethodDelete, list + query, ""
	}
}

// write makes writes until ctx ends. What a kill cut off may be there or not, and so
// the ones after it may be refused.
func (w *writer) write(ctx context.Context) {
	for ctx.Err() == nil {
		w.count++
		reason := fmt.Sprintf("%s-%d", w.name, w.count)
		method, path, body := w.nth(w.count, reason)
		about, _ := url.Parse(path)
		w.attempt(about.Path, reason)
		status, _, err := w.api.Do(ctx, method, path, body)
		if err != nil {
			return
		}
		w.mu.Lock()
		if status/100 == 2 {
			w.answered = append(w.answered, reason)
			w.latest[about.Path], w.since[about.Path] = reason, nil
		}
		w.mu.Unlock()
	}
}

func (w *writer) attempt(about, reason string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.since[about] = append(w.since[about], reason)
}

func (w *writer) writes() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.answered)
}

// decision is one of GET /overrides or of the audit.
type decision struct {
	Service, Host, Reason string
}

func (d decision) path() string {
	if d.Host == "" {
		return "/edsservice/" + d.Service
	}
	return "/edsservice/" + d.Service + "/hosts/" + d.Host
}

// audit returns every entry, by reason.
func (h *harness) audit() map[string]decision {
	h.t.Helper()
	all, before := make(map[string]decision), ""
	for {
		var page struct {
			Audit []struct{ Override decision }
			Next  string
		}
		must(h.t, 0, h.API.Get(within(h.t, patience), "/audit?limit=1000&before="+before, &page))
		for _, e := range page.Audit {
			all[e.Override.Reason] = e.Override
		}
		if before = page.Next; before == "" {
			return all
		}
	}
}

// A server is killed thirty times while four operators write: whatever it had
// answered with a 2xx is in the audit of the next one, and what was answered last
// about a thing, or came after it, is in force.
func TestNoAnsweredWriteIsLostByAKill(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	var writers []*writer
	for i := range 4 {
		writers = append(writers, &writer{
			api: stage.NewAPI(h.Addresses.HTTP), name: fmt.Sprintf("w%d", i),
			latest: make(map[string]string), since: make(map[string][]string),
		})
	}
	rounds, ends := 0, time.Now().Add(30*time.Second)
	for ; rounds < 30 && time.Now().Before(ends); rounds++ {
		h.writeUntilKilled(writers)
	}
	h.eds()
	audit := h.audit()
	var inForce struct{ Overrides []decision }
	must(t, 0, h.API.Get(within(t, patience), "/overrides", &inForce))
	force := make(map[string]string) // reason, by what it is about
	for _, o := range inForce.Overrides {
		force[o.path()] = o.Reason
	}
	total := 0
	for _, w := range writers {
		total += len(w.answered)
		for _, reason := range w.answered {
			if _, ok := audit[reason]; !ok {
				t.Errorf("write %s was answered, and the audit does not know it", reason)
			}
		}
		for about, last := range w.latest {
			w.inForce(t, about, last, force[about])
		}
	}
	t.Logf("%d answered writes, %d kills", total, rounds)
	if rounds < 10 || total < 10*rounds {
		t.Errorf("%d writes were answered in %d rounds, too few to say anything", total, rounds)
	}
}

// inForce fails the test unless what is in force about a thing is the last answered
// write, or one after it that was cut off; nothing is in force after a DELETE.
func (w *writer) inForce(t *testing.T, about, last, got string) {
	t.Helper()
	may := append([]string{last}, w.since[about]...)
	for i, reason := range may {
		n := must2(strconv.Atoi(strings.TrimPrefix(reason, w.name+"-")))(t)
		if method, _, _ := w.nth(n, reason); method == http.MethodDelete {
			may[i] = ""
		}
	}
	if !slices.Contains(may, got) {
		t.Errorf("%s: %q is in force, and the answered writes leave %q", about, got, may)
	}
}

// writeUntilKilled has a server run, and written to for a moment, until it is killed.
func (h *harness) writeUntilKilled(writers []*writer) {
	h.t.Helper()
	server := must2(h.StartEDS())(h.t)
	if err := server.Await(within(h.t, patience), func(ctx context.Context) error {
		_, err := h.API.Expect(ctx, http.StatusOK, http.MethodGet, "/healthz", "")
		return err
	}); err != nil {
		h.t.Fatal(err)
	}
	ctx := within(h.t, patience)
	var running sync.WaitGroup
	before := writers[0].writes()
	for _, w := range writers {
		running.Go(func() { w.write(ctx) })
	}
	h.eventually("writes are answered", func(context.Context) error {
		if writers[0].writes() < before+3 {
			return fmt.Errorf("%d of them are", writers[0].writes()-before)
		}
		return nil
	})
	time.Sleep(rand.N(50 * time.Millisecond)) // so that each kill finds something else
	server.Kill()
	running.Wait()
}
