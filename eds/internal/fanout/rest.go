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

const (
	pollShare    = 0.1 // of a core: the limit for polls as Envoy sends them
	refreshDelay = time.Second
)

// pollers measures what polls that find nothing new cost: as Envoy sends them, which are
// held until something changes or half of its timeout is over, and without the header
// that announces the timeout, which are answered at once.
func pollers(ctx context.Context, b *bench, w io.Writer) error {
	c, err := b.start("rollcall")
	if err != nil {
		return err
	}
	defer c.stop()
	if _, err := c.tell(order{Do: doLoad, Load: load{1, 1_000}}); err != nil {
		return err
	}
	n, held := count(b, 1_000), 0.0
	fmt.Fprintf(w, "\n%d pollers over REST, %s to %s after each answer\n", n, refreshDelay, 2*refreshDelay)
	for _, how := range []string{"at once", "held"} {
		p := polling{url: "http://" + c.hello.HTTP + "/v3/discovery:endpoints"}
		if how == "held" {
			p.expected = "1000"
		}
		polls, share, err := p.measure(ctx, b, c, n)
		if err != nil {
			return err
		}
		fmt.Fprintf(w, "  %-7s %4.0f polls a second not modified, %d in full, %d failed; %.1f %% of a core\n",
			how, polls, p.full.Load(), p.failed.Load(), 100*share)
		held = share // the last one
	}
	verdict(w, "% of a core at most", 100*pollShare, held <= pollShare)
	return nil
}

type polling struct {
	client                  *http.Client
	url                     string
	expected                string // timeout that Envoy announces, in ms; "" for none
	unchanged, full, failed atomic.Int64
}

// measure lets n clients poll, and returns how many polls a second are answered with 304
// and which share of a core all of them take.
func (p *polling) measure(ctx context.Context, b *bench, c *child, n int) (polls, share float64, err error) {
	length := 10 * time.Second
	if b.short {
		length = 2 * time.Second
	}
	ctx, cancel := context.WithCancel(ctx)
	p.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: n}, Timeout: patience}
	defer p.client.CloseIdleConnections()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for i := range n {
		wg.Go(func() { p.run(ctx, i) })
	}
	time.Sleep(4 * refreshDelay) // all have the assignment by then
	before, err := c.tell(order{Do: doStats})
	if err != nil {
		return 0, 0, err
	}
	p.unchanged.Store(0)
	p.full.Store(0)
	time.Sleep(length)
	polls = float64(p.unchanged.Load()) / length.Seconds()
	after, err := c.tell(order{Do: doStats})
	return polls, float64(after.CPUBefore-before.CPU) / float64(length), err
}

// run polls until ctx ends, as Envoy does: a delay after the answer, and up to as much
// again at random.
func (p *polling) run(ctx context.Context, i int) {
	version := ""
	next := time.NewTimer(rand.N(refreshDelay))
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
		body := fmt.Sprintf(`{"version_info":%q,"node":{"id":"poller-%d","cluster":"fanout"},"resource_names":["s0"],"type_url":"type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"}`, version, i)
		if err := p.poll(ctx, body, &version); err != nil && ctx.Err() == nil {
			p.failed.Add(1)
		}
		next.Reset(refreshDelay + rand.N(refreshDelay))
	}
}

func (p *polling) poll(ctx context.Context, body string, version *string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if p.expected != "" {
		req.Header.Set("X-Envoy-Expected-Rq-Timeout-Ms", p.expected)
	}
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
