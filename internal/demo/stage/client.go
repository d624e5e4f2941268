package stage

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// requestTimeout bounds one request of a Client.
const requestTimeout = 5 * time.Second

// Answer is what came back for one request through Envoy.
type Answer struct {
	Sent   time.Time
	Got    time.Time
	Status int // 0 when Err is set
	Header http.Header
	Body   string
	Err    error
}

// ID returns the uuid of the upstream that answered, or "" when none did.
func (a Answer) ID() string {
	if a.Status != http.StatusOK || len(a.Body) != 36 || uuid.Validate(a.Body) != nil {
		return ""
	}
	return a.Body
}

// Failure says what is wrong with an answer that is not an upstream's 200, or nil.
func (a Answer) Failure() error {
	switch {
	case a.Err != nil:
		return a.Err
	case a.ID() == "":
		return fmt.Errorf("status %d, body %q", a.Status, a.Body)
	}
	return nil
}

// Client asks one Envoy for `/`. Its methods may be called from any goroutine.
type Client struct {
	url    string
	http   *http.Client
	method string // "" is GET
	body   string
}

// NewClient returns a client of the Envoy that listens on addr. Without keepAlive
// each request has a connection of its own, as curl's does.
func NewClient(addr string, keepAlive bool) *Client {
	transport := &http.Transport{DisableKeepAlives: !keepAlive, MaxIdleConnsPerHost: 64}
	return &Client{url: "http://" + addr + "/", http: &http.Client{Transport: transport, Timeout: requestTimeout}}
}

// Posting returns a client that sends a POST with a small body where c sends a GET.
func (c *Client) Posting() *Client {
	p := *c
	p.method, p.body = http.MethodPost, strings.Repeat("x", 1000)
	return &p
}

// At returns a client that asks for path where c asks for /.
func (c *Client) At(path string) *Client {
	p := *c
	p.url = strings.TrimSuffix(c.url, "/") + path
	return &p
}

// Close drops idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Get sends one request. It takes at most five seconds.
func (c *Client) Get(ctx context.Context) (a Answer) {
	a.Sent = time.Now()
	defer func() { a.Got = time.Now() }()
	req, err := http.NewRequestWithContext(ctx, c.method, c.url, strings.NewReader(c.body))
	if err != nil {
		a.Err = err
		return a
	}
	resp, err := c.http.Do(req)
	if err != nil {
		a.Err = err
		return a
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	a.Status, a.Header, a.Body, a.Err = resp.StatusCode, resp.Header, string(body), err
	return a
}

// ExpectIDs returns nil when exactly these upstreams answer: it asks ten times for
// each, and no request may fail.
func (c *Client) ExpectIDs(ctx context.Context, want ...string) error {
	seen := make(map[string]int)
	for range 10 * len(want) {
		a := c.Get(ctx)
		if err := a.Failure(); err != nil {
			return err
		}
		seen[a.ID()]++
	}
	got := slices.Sorted(maps.Keys(seen))
	if want = slices.Sorted(slices.Values(want)); !slices.Equal(got, want) {
		return fmt.Errorf("answers came from %q, not from %q", got, want)
	}
	return nil
}
