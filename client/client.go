// Package client asks an EDS server over its HTTP API: what is served and why, which
// overrides are in force, and what changes.
//
// Import it in deployment tools and dashboards. Requests and answers are typed, an answer
// keeps the document as it came, and a refusal is a *Problem. Several servers may be named:
// they answer alike, and are tried in order.
package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/rollcall-fleet/rollcall/fleet"
)

const (
	// DefaultServer is where rollcall eds serves its API unless told otherwise.
	DefaultServer = "127.0.0.1:8080"
	defaultPort   = "8080"
	// DefaultTimeout bounds one request, whatever number of servers is asked.
	DefaultTimeout = 10 * time.Second

	maxAnswer = 64 << 20 // bytes
)

// Options say whom to ask.
type Options struct {
	// Servers are URLs or host[:port], in the order in which they are tried;
	// DefaultServer when empty. Without a scheme a server is asked over https:// if TLS
	// is given, or a Token that would leave this machine, else over http://; without
	// that and a port, at 8080.
	Servers []string

	Actor   string        // who decides, for the audit; "" lets the server say
	Timeout time.Duration // of a request; DefaultTimeout when 0
	Token   string        // shown to the servers, which must be https:// or on this machine; "" for none
	TLS     *tls.Config   // for https:// servers; nil for what the system trusts

	// Unsettled is called when a server says that it has not settled, so that what it
	// lists may be incomplete; nil: ignored. Any goroutine may call it.
	Unsettled func(server string)
}

// Client asks the API. Any goroutine may call it, several at a time.
type Client struct {
	servers []string
	actor   string
	timeout time.Duration
	token   string
	http    *http.Client

	unsettled func(server string)
}

// New returns a Client, or an error that names the server which is none, or which
// would be shown the token where others can read it. Close
// ends its idle connections.
func New(opts Options) (*Client, error) {
	c := &Client{actor: opts.Actor, timeout: cmp.Or(opts.Timeout, DefaultTimeout), token: opts.Token, unsettled: opts.Unsettled}
	servers := opts.Servers
	if len(servers) == 0 {
		servers = []string{DefaultServer}
	}
	for _, s := range servers {
		server, err := opts.parseServer(strings.TrimSpace(s))
		if err != nil {
			return nil, err
		}
		if opts.Token != "" && inTheClear(server) {
			return nil, fmt.Errorf("the token would be sent to %s in the clear: give an https:// URL", server)
		}
		c.servers = append(c.servers, server)
	}
	c.http = &http.Client{
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, DialContext: dial, ForceAttemptHTTP2: true, TLSClientConfig: opts.TLS},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

// Close ends the connections that wait for a further request.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// parseServer makes a URL of what Servers may hold.
func (o Options) parseServer(s string) (string, error) {
	whole := s
	bare := !strings.Contains(s, "://")
	if bare {
		if ip, err := netip.ParseAddr(s); err == nil && ip.Is6() {
			whole = "[" + s + "]"
		}
		whole = "http://" + whole
	}
	u, err := url.Parse(whole)
	if err != nil || u.Hostname() == "" || (u.Scheme != "http" && u.Scheme != "https") || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("%q is neither the address nor the URL of an EDS server, such as %s or https://10.0.0.5:8080", s, DefaultServer)
	}
	if bare && u.Port() == "" {
		u.Host = strings.TrimSuffix(u.Host, ":") + ":" + defaultPort
	}
	if bare && (o.TLS != nil || o.Token != "" && inTheClear(u.String())) {
		u.Scheme = "https"
	}
	return strings.TrimRight(u.String(), "/"), nil
}

// inTheClear reports whether what is sent to server can be read on the way.
func inTheClear(server string) bool {
	u, err := url.Parse(server)
	if err != nil || u.Scheme == "https" {
		return err != nil
	}
	ip, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() != "localhost" && (err != nil || !ip.IsLoopback())
}

// request is one question.
type request struct {
	method string
	path   string // escaped
	query  url.Values
	body   any // encoded as JSON; nil for none
	match  string
}

// answer is what a server said to it.
type answer struct {
	body []byte
	etag string
}

// do asks one server after the other until one has an answer. A write that may have
// arrived is not made again.
func (c *Client) do(ctx context.Context, r request) (answer, error) {
	deadline := time.Now().Add(c.timeout)
	var errs []error
	for i, server := range c.servers {
		left := time.Until(deadline)
		left = max(left/time.Duration(len(c.servers)-i), min(left, lookupRoom))
		got, err := c.ask(ctx, server, left, r)
		if err == nil || ctx.Err() != nil || !r.again(err) {
			return got, err
		}
		errs = append(errs, err)
	}
	return answer{}, errors.Join(errs...)
}

// again reports whether another server may be asked after err.
func (r request) again(err error) bool {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p.Status == http.StatusServiceUnavailable
	}
	op, ok := errors.AsType[*net.OpError](err)
	return r.method == http.MethodGet || (ok && op.Op == "dial")
}

func (c *Client) ask(ctx context.Context, server string, limit time.Duration, r request) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	req, err := c.newRequest(ctx, server, r)
	if err != nil {
		return answer{}, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, unreachable(server, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return answer{}, unreachable(server, err)
	case len(body) > maxAnswer:
		return answer{}, fmt.Errorf("the answer of %s is longer than %d bytes", server, maxAnswer)
	case resp.StatusCode/100 != 2, resp.StatusCode != http.StatusNoContent && mediaOf(resp) != mediaJSON:
		return answer{}, refusal(server, resp, body)
	}
	if c.unsettled != nil && resp.Header.Get(fleet.UnsettledHeader) != "" {
		c.unsettled(server)
	}
	return answer{body: body, etag: resp.Header.Get("ETag")}, nil
}

func (c *Client) newRequest(ctx context.Context, server string, r request) (*http.Request, error) {
	var body io.Reader
	if r.body != nil {
		b, err := json.Marshal(r.body)
		if err != nil {
			return nil, fmt.Errorf("encode the request: %w", err)
		}
		body = bytes.NewReader(b)
	}
	where := server + r.path
	if len(r.query) > 0 {
		where += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, where, body)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	set := func(name, value string) {
		if value != "" {
			req.Header.Set(name, value)
		}
	}
	if r.body != nil {
		set("Content-Type", "application/json")
	}
	set("If-Match", r.match)
	set(fleet.ActorHeader, c.actor)
	if c.token != "" {
		set("Authorization", "Bearer "+c.token)
	}
	return req, nil
}
