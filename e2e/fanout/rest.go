package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// pollShare is the most that the polls may take of a core.
const pollShare = 0.1

// pollers is what polls cost that find nothing new.
func pollers(ctx context.Context, b *bench, w io.Writer) error {
	c, err := b.start("rollcall")
	if err != nil {
		return err
	}
	defer c.stop()
	if _, err := c.tell(order{Do: doLoad, Load: load{1, 1_000}}); err != nil {
		return err
	}
	length := 10 * time.Second
	if b.short {
		length = 2 * time.Second
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	n := count(b, 1_000)
	p := polling{url: "http://" + c.hello.HTTP + "/v3/discovery:endpoints", every: time.Second}
	p.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: n}, Timeout: patience}
	defer p.client.CloseIdleConnections()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for i := range n {
		wg.Go(func() { p.run(ctx, i) })
	}
	time.Sleep(3 * p.every) // all have the assignment by then
	before, err := c.tell(order{Do: doStats})
	if err != nil {
		return err
	}
	polls, full := p.unchanged.Load(), p.full.Load()
	time.Sleep(length)
	after, err := c.tell(order{Do: doStats})
	if err != nil {
		return err
	}
	share := float64(after.CPUBefore-before.CPU) / float64(length)
	fmt.Fprintf(w, "\n%d pollers over REST, %s\n  %d polls not modified, %d in full, %d failed; %.1f %% of a core\n", n, p.every,
		p.unchanged.Load()-polls, p.full.Load()-full, p.failed.Load(), 100*share)
	verdict(w, "% of a core at most", 100*pollShare, share <= pollShare)
	return nil
}

type polling struct {
	client                  *http.Client
	url                     string
	every                   time.Duration
	unchanged, full, failed atomic.Int64
}

// run polls until ctx ends.
func (p *polling) run(ctx context.Context, i int) {
	version := ""
	next := time.NewTimer(rand.N(p.every))
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
			next.Reset(p.every)
		}
		body := fmt.Sprintf(`{"version_info":%q,"node":{"id":"poller-%d","cluster":"fanout"},"resource_names":["s0"],"type_url":"type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"}`, version, i)
		if err := p.poll(ctx, body, &version); err != nil && ctx.Err() == nil {
			p.failed.Add(1)
		}
	}
}

func (p *polling) poll(ctx context.Context, body string, version *string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode == http.StatusNotModified:
		p.unchanged.Add(1)
	case resp.StatusCode == http.StatusOK:
		p.full.Add(1)
		if _, after, ok := strings.Cut(string(b[:min(len(b), 100)]), `"version_info":"`); ok {
			*version, _, _ = strings.Cut(after, `"`)
		}
	default:
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}
