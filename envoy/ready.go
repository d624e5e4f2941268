package envoy

import (
	"context"
	"net/http"
	"os"
	"strings"
	"time"
)

const (
	readyWithin = time.Minute // outlasts DefaultInitialFetchTimeout; after it the question is given up
	readyEvery  = 50 * time.Millisecond
)

// awaitReady calls ready with the address of the admin interface once that says that
// Envoy takes requests, unless ctx ends first. Envoy writes the address to file when
// it has it: whatever answers there before is another Envoy.
func awaitReady(ctx context.Context, file string, ready func(admin string)) {
	asking := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Second}
	tick := time.NewTicker(readyEvery)
	defer tick.Stop()
	for {
		b, err := os.ReadFile(file)
		if admin := strings.TrimSpace(string(b)); err == nil && answersReady(ctx, asking, admin) {
			ready(admin)
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func answersReady(ctx context.Context, asking *http.Client, admin string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+admin+"/ready", http.NoBody)
	if err != nil {
		return false
	}
	resp, err := asking.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}
