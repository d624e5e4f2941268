package xds

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/rollcall-fleet/rollcall/certs"
)

// What a client is refused for, as it is counted.
const (
	refusedClient = "xds_clients"
	refusedNames  = "xds_names"
	refusedRead   = "xds_policy"
	refusedCert   = "xds_certificate"
	refusedBytes  = "request_bytes"
	refusedNode   = "xds_node"
)

// allowed returns an error that names the first service that the client may not read.
func (s *Server) allowed(id string, names []string, all bool) error {
	if s.opts.Allows == nil {
		return nil
	}
	if all {
		names = append([]string{wildcardName}, names...)
	}
	for _, name := range names {
		if !s.opts.Allows(id, name) {
			s.opts.Refused(refusedRead)
			s.logRefusal(slog.LevelWarn, "client may not read a service", "id", shorten(id, maxNode), "service", shorten(name, maxNode))
			return fmt.Errorf("%q may not read service %q: the policy of this EDS server does not list it", shorten(id, maxNode), shorten(name, maxNode))
		}
	}
	return nil
}

// certID is who a stream's client is by its certificate; "" without one. A
// certificate that names nobody has no id that a policy could list.
// One that names several has none either, and is refused.
func certID(ctx context.Context) (string, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return "", nil
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return "", nil
	}
	return named(certs.ID(&info.State))
}

// certEnd is when a stream's client certificate ends; zero without one.
func certEnd(ctx context.Context) time.Time {
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(credentials.TLSInfo); ok {
			return certs.Ends(&info.State)
		}
	}
	return time.Time{}
}

func requestID(r *http.Request) (string, error) { return named(certs.ID(r.TLS)) }

// nobody is the id of a client whose certificate names none: its word for its node
// must not do instead.
const nobody = "(no name in the certificate)"

func named(id string, err error) (string, error) {
	if errors.Is(err, certs.ErrNoName) {
		return nobody, nil
	}
	return id, err
}
