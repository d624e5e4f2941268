package eds

import (
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/netip"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollcall-fleet/rollcall/eds/internal/middleware"
	"github.com/rollcall-fleet/rollcall/internal/auth"
	"github.com/rollcall-fleet/rollcall/internal/certs"
	"github.com/rollcall-fleet/rollcall/internal/panics"
)

// entrance is what Access opens: files read and checked.
type entrance struct {
	httpTLS, xdsTLS *tls.Config // nil: none
	auth            *auth.Authenticator
	allows          func(id, service string) bool // nil: all
	refused         *prometheus.CounterVec
}

// Mistake is an error of a file that Options name: it holds something else.
type Mistake struct{ error }

// Unwrap returns what is wrong.
func (m Mistake) Unwrap() error { return m.error }

// open reads the files. Its error is a Mistake.
func (a Access) open(logger *slog.Logger) (e entrance, err error) {
	defer func() {
		if err != nil {
			err = Mistake{err}
		}
	}()
	e.refused = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "rollcall_refused_total", Help: "Requests, streams and subscriptions that were refused, by reason.",
	}, []string{"reason"})
	if a.HTTP.Given() {
		// Probes and the console's page come without a certificate.
		if e.httpTLS, err = certs.Server(a.HTTP, tls.VerifyClientCertIfGiven, logger, "h2", "http/1.1"); err != nil {
			return e, err
		}
	}
	if a.XDS.Given() {
		if e.xdsTLS, err = certs.Server(a.XDS, tls.RequireAndVerifyClientCert, logger, "h2"); err != nil {
			return e, err
		}
	}
	if a.Policy != "" {
		if e.allows, err = auth.FollowPolicy(a.Policy, logger); err != nil {
			return e, err
		}
	}
	e.auth, err = auth.New(auth.Options{
		TokenFile: a.Tokens, ClientCA: a.HTTP.PeerCA != "", Viewers: a.Viewers, Operators: a.Operators, Logger: logger,
	})
	return e, err
}

func (e entrance) count(reason string) { e.refused.WithLabelValues(reason).Inc() }

// limit bounds the connections of one address at a port.
func (e entrance) limit(lis net.Listener, a Access, reason string) net.Listener {
	return middleware.LimitConnections(lis, a.Connections, func() { e.count(reason) })
}

// guard puts what a refuses before next.
func (e entrance) guard(next http.Handler, a Access, listen netip.Addr, catcher panics.Catcher) http.Handler {
	return middleware.New(next, middleware.Options{
		Auth: e.auth, Listen: listen, Hosts: a.Hosts, Rate: a.Rate, DiscoveryRate: a.DiscoveryRate,
		MaxBody: middleware.DefaultMaxBody, Refused: e.count, Logger: catcher.Logger, Panics: catcher,
	})
}
