package client

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// Answer is what a server said, as a value and as it came.
type Answer[T any] struct {
	Value T
	JSON  json.RawMessage
	ETag  string // for If-Match; "" where there is none
}

// fetch asks r. name is the member of the document that T is, "" for all of it.
func fetch[T any](ctx context.Context, c *Client, r request, name string) (Answer[T], error) {
	got, err := c.do(ctx, r)
	if err != nil {
		return Answer[T]{}, err
	}
	a := Answer[T]{JSON: got.body, ETag: got.etag}
	part := a.JSON
	if name != "" {
		var parts map[string]json.RawMessage
		if err := json.Unmarshal(got.body, &parts); err != nil || parts[name] == nil {
			return a, fmt.Errorf("the answer has no %q: is this an EDS server?", name)
		}
		part = parts[name]
	}
	if err := json.Unmarshal(part, &a.Value); err != nil {
		return a, fmt.Errorf("read the answer: %w", err)
	}
	return a, nil
}

// get is fetch with the method of reading.
func get[T any](ctx context.Context, c *Client, path string, query url.Values, name string) (Answer[T], error) {
	return fetch[T](ctx, c, request{method: http.MethodGet, path: path, query: query}, name)
}

// Services returns every service by name.
func (c *Client) Services(ctx context.Context) (Answer[map[string]Service], error) {
	return get[map[string]Service](ctx, c, "/edsservice", nil, "")
}

// Service returns one service; its ETag is that of everything decided for it.
func (c *Client) Service(ctx context.Context, name string) (Answer[Service], error) {
	return get[Service](ctx, c, servicePath(name), nil, "")
}

// Overrides returns the decisions in force for a service, or with "" for all.
func (c *Client) Overrides(ctx context.Context, service string) (Answer[[]Override], error) {
	query := url.Values{}
	if service != "" {
		query.Set("service", service)
	}
	return get[[]Override](ctx, c, "/overrides", query, "overrides")
}

// Audit returns what was decided since a moment (zero: ever), newest first, limit
// entries at most (0: as many as the server gives).
func (c *Client) Audit(ctx context.Context, since time.Time, limit int) (Answer[[]Entry], error) {
	query := url.Values{}
	if !since.IsZero() {
		query.Set("since", since.UTC().Format(time.RFC3339))
	}
	if limit > 0 {
		query.Set("limit", strconv.Itoa(limit))
	}
	return get[[]Entry](ctx, c, "/audit", query, "audit")
}

// Members returns the pool.
func (c *Client) Members(ctx context.Context) (Answer[[]Member], error) {
	return get[[]Member](ctx, c, "/members", nil, "members")
}

// Clients returns the xDS clients of the server that answers.
func (c *Client) Clients(ctx context.Context) (Answer[[]Follower], error) {
	return get[[]Follower](ctx, c, "/clients", nil, "clients")
}

func servicePath(name string) string { return "/edsservice/" + url.PathEscape(name) }

func hostPath(service, host string) string {
	return servicePath(service) + "/hosts/" + url.PathEscape(host)
}

// Terms are what a decision is made under.
type Terms struct {
	For     time.Duration // until it ends by itself; 0 for never
	Reason  string
	IfMatch string // an ETag: refused when something else was decided since; "" for no condition
}

// Change is a merge patch of the decision for one host: a field that is not there
// stays as it is, nil takes it back.
type Change map[string]any

// Decide changes the decision for a host, a uuid or ip:port.
func (c *Client) Decide(ctx context.Context, service, host string, change Change, terms Terms) (Answer[json.RawMessage], error) {
	body := make(map[string]any, len(change)+2)
	maps.Copy(body, change)
	if terms.For != 0 {
		body["expires_in"] = terms.For.String()
	}
	if terms.Reason != "" {
		body["reason"] = terms.Reason
	}
	r := request{method: http.MethodPatch, path: hostPath(service, host), body: body, match: terms.IfMatch}
	return fetch[json.RawMessage](ctx, c, r, "")
}

// Undo takes back all that is decided for a host.
func (c *Client) Undo(ctx context.Context, service, host string, terms Terms) error {
	_, err := c.do(ctx, request{method: http.MethodDelete, path: hostPath(service, host), query: terms.query(), match: terms.IfMatch})
	return err
}

// Revoke takes back the decision with this id.
func (c *Client) Revoke(ctx context.Context, id string, terms Terms) error {
	_, err := c.do(ctx, request{method: http.MethodDelete, path: "/overrides/" + url.PathEscape(id), query: terms.query(), match: terms.IfMatch})
	return err
}

// Pin has exactly hosts served, whatever gossip says.
func (c *Client) Pin(ctx context.Context, service string, hosts []ListedHost, terms Terms) (Answer[Service], error) {
	body := map[string]any{"hosts": hosts}
	r := request{method: http.MethodPut, path: servicePath(service), query: terms.query(), body: body, match: terms.IfMatch}
	return fetch[Service](ctx, c, r, "")
}

// Unpin takes back the manual list of a service, of either mode.
func (c *Client) Unpin(ctx context.Context, service string, terms Terms) error {
	_, err := c.do(ctx, request{method: http.MethodDelete, path: servicePath(service), query: terms.query(), match: terms.IfMatch})
	return err
}

func (t Terms) query() url.Values {
	query := url.Values{}
	if t.For != 0 {
		query.Set("expires_in", t.For.String())
	}
	if t.Reason != "" {
		query.Set("reason", t.Reason)
	}
	return query
}
