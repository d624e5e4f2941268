// Package middleware stands before every handler of an EDS server's HTTP port: it
// decides who is let in, keeps other sites' pages out of the browser of a client
// that is, and bounds what one address may ask. What it refuses is answered with a
// problem document and counted. It also bounds the connections of one address at any
// port.
package middleware

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/rollcall-fleet/rollcall/eds/internal/problem"
	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/internal/auth"
	"github.com/rollcall-fleet/rollcall/internal/panics"
	"github.com/rollcall-fleet/rollcall/internal/rates"
)

// Reasons for refusing a request: label values of a metric.
const (
	RefusedRate        = "http_rate"
	RefusedHost        = "http_host"
	RefusedCrossOrigin = "http_cross_origin"
	RefusedIdentity    = "http_identity" // none, or a wrong one
	RefusedRole        = "http_role"     // may not do that
)

// What a connection is refused for.
const (
	RefusedHTTPConnections = "http_connections"
	RefusedXDSConnections  = "xds_connections"
)

// The default Options.
const (
	DefaultRate          = 1000
	DefaultDiscoveryRate = 20_000
	DefaultMaxBody       = 1 << 20
)

// Options say what is refused.
type Options struct {
	Auth   *auth.Authenticator // nil lets every client in
	Listen netip.Addr          // of the port
	Hosts  []string            // further names at which it is asked; "*" for any

	Rate          int   // requests a second of one address, but for discovery; 0: no limit
	DiscoveryRate int   // the same for discovery, where each Envoy polls for each cluster
	MaxBody       int64 // bytes; 0: no limit beyond the handlers' own

	Refused func(reason string) // called for each refusal; may be nil
	Panics  panics.Catcher
	Logger  *slog.Logger
}

// guarded is the handler that New returns.
type guarded struct {
	Options
	hosts            hosts
	rates, discovery *rates.Table
	sites            *http.CrossOriginProtection
	next             http.Handler
}

// New returns next behind what o refuses. It starts no goroutine.
func New(next http.Handler, o Options) http.Handler {
	if o.Refused == nil {
		o.Refused = func(string) {}
	}
	return caught(&guarded{
		Options: o, next: next, hosts: newHosts(o.Listen, o.Hosts), sites: http.NewCrossOriginProtection(),
		rates: rates.New(o.Rate, 2*o.Rate), discovery: rates.New(o.DiscoveryRate, 2*o.DiscoveryRate), // twice a second's worth at a time
	}, o.Panics)
}

// ServeHTTP implements http.Handler.
func (g *guarded) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	setHeaders(w.Header())
	kind := kindOf(r)
	if no := g.check(r, kind); no != nil {
		g.Refused(no.reason)
		g.Logger.Debug("request refused", "reason", no.reason, "remote", r.RemoteAddr, "method", r.Method, "path", r.URL.Path, "detail", no.detail)
		no.answer(w)
		return
	}
	r, stop := g.recheck(r, kind)
	defer stop()
	if g.MaxBody > 0 {
		r.Body = http.MaxBytesReader(w, r.Body, g.MaxBody)
	}
	g.next.ServeHTTP(w, r)
}

// setHeaders sets what every answer has unless its handler knows better: nothing
// that is not a page of ours may act as one.
func setHeaders(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
}

// check returns why a request is refused, nil when it is not; it then carries its
// author's name, or the claimed one where no proof is required.
func (g *guarded) check(r *http.Request, kind kind) *refusal {
	limit := g.rates
	if kind == discovery {
		limit = g.discovery
	}
	if ok, _ := limit.Allow(fleet.PartyOf(r.RemoteAddr), time.Now()); !ok {
		return &refusal{http.StatusTooManyRequests, RefusedRate, "too many requests from this address: ask again in a second"}
	}
	if !anyHost(r, kind) && !g.hosts.allows(r.Host) {
		return &refusal{http.StatusMisdirectedRequest, RefusedHost, fmt.Sprintf("unknown host %q: use the server's address, or start it with --http-host %[1]s", hostOf(r.Host))}
	}
	if err := g.sites.Check(r); err != nil {
		return &refusal{http.StatusForbidden, RefusedCrossOrigin, "pages of other sites may not change anything: " + err.Error()}
	}
	if g.Auth == nil {
		return nil
	}
	r.Header.Del(fleet.ActorHeader) // only a name that was proven reaches the handlers
	return g.authorize(r, kind)
}

// recheckEvery is how often one who waits for an answer, or listens, is looked at again.
const recheckEvery = 800 * time.Millisecond

// recheck ends the context of a request whose author may not ask it any more: a token was
// revoked, or a certificate has expired.
func (g *guarded) recheck(r *http.Request, kind kind) (_ *http.Request, stop func()) {
	if g.Auth == nil || kind == public {
		return r, func() {}
	}
	ctx, cancel := context.WithCancel(r.Context())
	var mu sync.Mutex
	var timer *time.Timer
	stopped := false
	look := func() {
		_, no := g.identify(r, kind)
		mu.Lock()
		defer mu.Unlock()
		switch {
		case stopped:
		case no == nil:
			timer.Reset(recheckEvery)
		default:
			g.Refused(no.reason)
			g.Logger.Info("request ended: its token or certificate is no longer allowed", "remote", r.RemoteAddr, "path", r.URL.Path, "reason", no.detail)
			cancel()
		}
	}
	mu.Lock()
	defer mu.Unlock()
	timer = time.AfterFunc(recheckEvery, look)
	bounded := r.WithContext(ctx) // look reads r
	bounded.Body = endingBody{r.Body, ctx}
	return bounded, func() {
		mu.Lock()
		defer mu.Unlock()
		stopped = true
		timer.Stop()
		cancel()
	}
}

// endingBody is the body of a request that ends with ctx: what comes of it after that is
// not read, or it would be acted upon.
type endingBody struct {
	io.ReadCloser
	ctx context.Context
}

// Read implements io.Reader.
func (b endingBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.ctx.Err() != nil {
		return 0, errEnded
	}
	return n, err
}

var errEnded = errors.New("its author may not ask it any more, or is gone")

func (g *guarded) authorize(r *http.Request, kind kind) *refusal {
	id, no := g.identify(r, kind)
	if no == nil && kind != public {
		r.Header.Set(fleet.ActorHeader, id.Name)
	}
	return no
}

// identify returns who asks, or why that one may not.
func (g *guarded) identify(r *http.Request, kind kind) (auth.Identity, *refusal) {
	id, err := g.Auth.Identify(r)
	switch {
	case kind == public:
		return id, nil
	case err != nil:
		return id, &refusal{http.StatusUnauthorized, RefusedIdentity, err.Error()}
	case id.Name == "":
		return id, &refusal{http.StatusUnauthorized, RefusedIdentity, "authentication is required: send a token (Authorization: Bearer TOKEN) or a client certificate"}
	case kind == reading && !id.Role.May(auth.Viewer):
		return id, &refusal{http.StatusForbidden, RefusedRole, fmt.Sprintf("%s has no role: want viewer or operator", id.Name)}
	case kind == deciding && !id.Role.May(auth.Operator):
		return id, &refusal{http.StatusForbidden, RefusedRole, fmt.Sprintf("%s may not do that: want role operator", id.Name)}
	}
	return id, nil
}

// refusal is a request's answer when it does not get through.
type refusal struct {
	status int
	reason string
	detail string
}

// answer writes the refusal. It is not to be kept by caches.
func (n *refusal) answer(w http.ResponseWriter) {
	h := w.Header()
	if n.status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Bearer realm="rollcall"`)
	}
	h.Set("Cache-Control", "no-store")
	problem.Errorf(n.status, "%s", n.detail).Write(w)
}

// kind is what a request is about.
type kind int

const (
	public    kind = iota // says nothing of the fleet: probes of this process, the console's page
	discovery             // an Envoy's
	reading
	deciding
)

// anyHost reports whether a request may come under any Host. Envoy sends its cluster's
// name in polls and in health checks, and no Origin, as browsers do in a POST. What the
// health paths say is of no use to a page.
func anyHost(r *http.Request, kind kind) bool {
	return r.Header.Get("Origin") == "" && (kind == discovery || isHealth(r.URL.EscapedPath()))
}

func isHealth(path string) bool { return path == "/healthz" || path == "/readyz" }

// kindOf looks at the path as the router does: encoded, and not made clean.
func kindOf(r *http.Request) kind {
	switch path := r.URL.EscapedPath(); {
	case path == "/v2/discovery:endpoints", path == "/v3/discovery:endpoints", strings.HasPrefix(path, "/v1/registration/"):
		return discovery
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return deciding
	case path == "/", path == "/openapi.yaml", isHealth(path), strings.HasPrefix(path, "/console/"):
		return public
	default:
		return reading
	}
}
