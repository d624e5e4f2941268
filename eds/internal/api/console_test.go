package api

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

func TestConsoleAndAllItsFilesAreServed(t *testing.T) {
	r := newRig(t)
	page := r.must(200, "GET", "/", "")
	if ct := page.header.Get("Content-Type"); ct != "text/html; charset=utf-8" {
		t.Errorf("content type %q", ct)
	}
	if csp := page.header.Get("Content-Security-Policy"); !strings.HasPrefix(csp, "default-src 'none'") {
		t.Errorf("content security policy %q", csp)
	}
	links := regexp.MustCompile(`(?:src|href)="([^"]*)"`).FindAllStringSubmatch(page.body, -1)
	if len(links) < 4 {
		t.Fatalf("%d links in the page", len(links))
	}
	for _, link := range links {
		if !strings.HasPrefix(link[1], "/console/") {
			t.Errorf("%s is not one of the console's files", link[1])
		}
		if got := r.must(200, "GET", link[1], ""); len(got.body) < 100 {
			t.Errorf("%s: %d bytes", link[1], len(got.body))
		}
	}
	if !strings.Contains(r.must(200, "GET", "/console/console.js", "").body, "'/openapi.yaml'") {
		t.Error("the page does not load the document")
	}
	r.must(404, "GET", "/console/nothing.js", "")
}

func TestNoAnswerIsStoredOrSniffed(t *testing.T) {
	r := newRig(t)
	for _, path := range []string{"/", "/edsservice", "/edsservice/myservice", "/edsservice/unknown", "/members", "/clients", "/nothing", "/healthz"} {
		got := r.do("GET", path, "")
		if got.header.Get("Cache-Control") != "no-store" || got.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s: %v", path, got.header)
		}
	}
}

func TestHeadAnswersLikeGet(t *testing.T) {
	r := newRig(t)
	for path, status := range map[string]int{"/": 200, "/edsservice/myservice": 200, "/edsservice/unknown": 404, "/readyz": 200} {
		if got := r.must(status, http.MethodHead, path, ""); got.body != "" {
			t.Errorf("%s: body %q", path, got.body)
		}
	}
}
