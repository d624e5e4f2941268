package client

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
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

// Host returns a host, a uuid or ip:port; its ETag is that of the decision for it.
func (c *Client) Host(ctx context.Context, service, host string) (Answer[Decided], error) {
	return get[Decided](ctx, c, hostPath(service, host), nil, "")
}

// Override returns the decision with this id.
func (c *Client) Override(ctx context.Context, id string) (Answer[Override], error) {
	return get[Override](ctx, c, "/overrides/"+url.PathEscape(id), nil, "")
}

// maxPage is the longest page of the audit that the API gives.
const maxPage = 1000

// Audit returns what was decided, newest first, limit entries at most. since is a
// moment as in RFC 3339, or how long ago it was as in 24h or 7d; "" for ever.
func (c *Client) Audit(ctx context.Context, since string, limit int) (Answer[[]Entry], error) {
	all := Answer[[]Entry]{}
	raw := []json.RawMessage{}
	query := url.Values{}
	if since != "" {
		query.Set("since", since)
	}
	for len(raw) < limit {
		query.Set("limit", strconv.Itoa(min(limit-len(raw), maxPage)))
		page, err := get[auditPage](ctx, c, "/audit", query, "")
		if err != nil {
			return all, err
		}
		raw = append(raw, page.Value.Audit...)
		if page.Value.Next == "" || len(page.Value.Audit) == 0 {
			break
		}
		query.Set("before", page.Value.Next)
	}
	var err error
	if all.JSON, err = json.Marshal(map[string]any{"audit": raw}); err != nil {
		return all, fmt.Errorf("read the audit: %w", err)
	}
	for _, b := range raw {
		var e Entry
		if err := json.Unmarshal(b, &e); err != nil {
			return all, fmt.Errorf("read the audit: %w", err)
		}
		all.Value = append(all.Value, e)
	}
	return all, nil
}

type auditPage struct {
	Audit []json.RawMessage `json:"audit"`
	Next  string            `json:"next"` // before which to go on; "" at the end
}

// Members returns the pool.
func (c *Client) Members(ctx context.Context) (Answer[[]Member], error) {
	return get[[]Member](ctx, c, "/members", nil, "members")
}

// Clients returns the xDS clients of the server that answers.
func (c *Client) Clients(ctx context.Context) (Answer[[]Follower], error) {
	return get[[]Follower](ctx, c, "/clients", nil, "clients")
}

// Guards returns the guards of the server that answers: each server has its own.
func (c *Client) Guards(ctx context.Context) (Answer[Guards], error) {
	return get[Guards](ctx, c, "/guards", nil, "")
}

// ReleaseGuard has the server that answers let the guard of a service go: its silent
// hosts are dead.
func (c *Client) ReleaseGuard(ctx context.Context, service string) error {
	_, err := c.do(ctx, request{method: http.MethodDelete, path: "/guards/" + url.PathEscape(service)})
	return err
}

// Keys returns the keys that the pool's gossip is encrypted with. Every member is
// asked, by the server: this and the other requests about keys want a Timeout of 20 s.
func (c *Client) Keys(ctx context.Context) (Answer[Keys], error) {
	return get[Keys](ctx, c, "/keys", nil, "")
}

// UseKey has every member encrypt with the key whose fingerprint begins so. It is
// refused while one lacks that key or does not answer, but for those whose ids are in
// without: these may be locked out.
func (c *Client) UseKey(ctx context.Context, fingerprint string, without ...string) (Answer[Keys], error) {
	return fetch[Keys](ctx, c, request{method: http.MethodPut, path: keyPath(fingerprint), query: withoutQuery(without)}, "")
}

// RemoveKey has every member forget the key whose fingerprint begins so. It is
// refused while one encrypts with it, as UseKey is.
func (c *Client) RemoveKey(ctx context.Context, fingerprint string, without ...string) (Answer[Keys], error) {
	return fetch[Keys](ctx, c, request{method: http.MethodDelete, path: keyPath(fingerprint), query: withoutQuery(without)}, "")
}

func keyPath(fingerprint string) string {
	return "/keys/" + url.PathEscape(strings.ToLower(fingerprint))
}

func withoutQuery(members []string) url.Values {
	if len(members) == 0 {
		return nil
	}
	return url.Values{"without": {strings.Join(members, ",")}}
}

func servicePath(name string) string { return "/edsservice/" + url.PathEscape(name) }

func hostPath(service, host string) string {
	return servicePath(service) + "/hosts/" + url.PathEscape(host)
}

// Forever is the duration of a decision that does not end by itself.
const Forever = "forever"

// Terms are what a decision is made under.
type Terms struct {
	For     string    // how long, as in 90m or 7d; "" keeps the end; the list of Pin then has none
	Until   time.Time // when the list of Pin ends, in place of For
	Reason  string    // "" keeps the reason; the list of Pin then has none
	IfMatch string    // an ETag: refused when something else was decided since; "" for no condition
}

// Change is a merge patch of the decision for one host: a field that is not there
// keeps its value, nil revokes it.
type Change map[string]any

// Decide changes the decision for a host, a uuid or ip:port.
func (c *Client) Decide(ctx context.Context, service, host string, change Change, terms Terms) (Answer[Decided], error) {
	body := make(map[string]any, len(change)+2)
	maps.Copy(body, change)
	switch terms.For {
	case "":
	case Forever:
		body["expires_in"] = nil
	default:
		body["expires_in"] = terms.For
	}
	if terms.Reason != "" {
		body["reason"] = terms.Reason
	}
	r := request{method: http.MethodPatch, path: hostPath(service, host), body: body, match: terms.IfMatch}
	return fetch[Decided](ctx, c, r, "")
}

// Undo takes back all that is decided for a host, under either of its names.
func (c *Client) Undo(ctx context.Context, service, host string, terms Terms) error {
	_, err := c.do(ctx, request{method: http.MethodDelete, path: hostPath(service, host), query: terms.query(), match: terms.IfMatch})
	return err
}

// Revoke takes back the decision with this id.
func (c *Client) Revoke(ctx context.Context, id string, terms Terms) error {
	_, err := c.do(ctx, request{method: http.MethodDelete, path: "/overrides/" + url.PathEscape(id), query: terms.query(), match: terms.IfMatch})
	return err
}

// Pin has exactly hosts served, whatever gossip says. It replaces the list that is
// there, with its end and its reason.
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
	switch {
	case !t.Until.IsZero():
		query.Set("until", t.Until.Format(time.RFC3339Nano))
	case t.For != "" && t.For != Forever:
		query.Set("expires_in", t.For)
	}
	if t.Reason != "" {
		query.Set("reason", t.Reason)
	}
	return query
}
