package api

import (
	"context"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
)

// browserWithin bounds the whole visit; a cold browser alone may take 10 s.
const browserWithin = 50 * time.Second

// A person opens the console, presses "Try it out" and "Execute" with what is
// filled in, first at POST and then at PUT, and it is done.
func TestTryItOutInARealBrowser(t *testing.T) {
	r := newRig(t)
	ctx, seen := openBrowser(t)
	if err := chromedp.Do(ctx, chromedp.Navigate(r.url+"/")); err != nil {
		t.Fatalf("open the console: %v", err)
	}
	for _, step := range []struct {
		operation, status string
		mode              override.Mode
	}{
		{"addHosts", "201", override.Merge},
		{"pinHosts", "200", override.Pin},
	} {
		url, status, err := tryItOut(ctx, "#operations-services-"+step.operation)
		if err != nil {
			t.Fatalf("%s: %v\n%s", step.operation, err, seen)
		}
		if want := r.url + "/edsservice/myservice"; url != want || !strings.HasPrefix(status, step.status) {
			t.Errorf("%s: %s at %s, want %s at %s", step.operation, status, url, step.status, want)
		}
		list, _ := r.store.InForce()
		if len(list) != 1 || list[0].Mode != step.mode || list[0].Service != "myservice" ||
			len(list[0].Hosts) != 1 || list[0].Hosts[0].Addr.String() != "127.0.0.1:18080" || list[0].Hosts[0].Weight != 50 {
			t.Fatalf("after %s the store has %+v", step.operation, list)
		}
	}
	seen.check(t, r.url+"/")
}

// tryItOut opens an operation, executes it with its example values, and returns where
// that went and the status of the answer.
func tryItOut(ctx context.Context, operation string) (url, status string, err error) {
	in := func(part string) chromedp.CSS { return chromedp.CSS(operation + " " + part) }
	if err := chromedp.Do(ctx,
		chromedp.Click(in(".opblock-summary-control"), chromedp.NodeVisible),
		chromedp.Click(in(".try-out__btn"), chromedp.NodeVisible),
		chromedp.Click(in(".execute"), chromedp.NodeVisible),
		chromedp.WaitVisible(in(".live-responses-table .response-col_status"))); err != nil {
		return "", "", err
	}
	if url, err = chromedp.Run(ctx, chromedp.Text(in(".request-url pre"))); err != nil {
		return "", "", err
	}
	status, err = chromedp.Run(ctx, chromedp.Text(in(".live-responses-table tbody .response-col_status")))
	return url, status, err
}

// sightings are what the page asked for and complained of.
type sightings struct {
	mu         sync.Mutex
	requests   []string
	complaints []string
}

func (s *sightings) note(event any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch e := event.(type) {
	case *network.EventRequestWillBeSent:
		s.requests = append(s.requests, e.Request.URL)
	case *network.EventWebSocketCreated:
		s.requests = append(s.requests, e.URL)
	case *log.EventEntryAdded: // has violations of the content security policy
		s.complaints = append(s.complaints, e.Entry.Text)
	case *runtime.EventExceptionThrown:
		s.complaints = append(s.complaints, e.ExceptionDetails.Text)
	}
}

func (s *sightings) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return "requests: " + strings.Join(s.requests, " ") + "\ncomplaints: " + strings.Join(s.complaints, "\n")
}

// check holds the page to its own origin.
func (s *sightings) check(t *testing.T, origin string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, want := range []string{"", "openapi.yaml", "edsservice/myservice"} {
		if !slices.Contains(s.requests, origin+want) {
			t.Errorf("no request to %s was seen", origin+want)
		}
	}
	for _, url := range s.requests {
		if !strings.HasPrefix(url, origin) && !strings.HasPrefix(url, "data:") {
			t.Errorf("the page asked %s", url)
		}
	}
	for _, complaint := range s.complaints {
		t.Errorf("the page complained: %s", complaint)
	}
}

// openBrowser starts a headless Chromium with a profile of its own, which ends
// with the test.
func openBrowser(t *testing.T) (context.Context, *sightings) {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("chromium is missing: install Debian's package chromium, which `make test` does as root on Debian and Ubuntu")
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU, chromedp.WSURLReadTimeout(browserWithin),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))
	ctx, cancel := context.WithTimeout(t.Context(), browserWithin)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, opts...)
	t.Cleanup(cancel) // waits until the process is gone and its profile deleted
	seen := &sightings{}
	ctx, cancel = chromedp.NewContext(ctx, chromedp.WithListener(seen.note))
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	return ctx, seen
}
