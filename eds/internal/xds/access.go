package xds

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/rollcall-fleet/rollcall/internal/certs"
)

// The reasons for refusals, as they are counted.
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
			return fmt.Errorf("%q may not read service %q: the policy of this EDS server does not allow it", shorten(id, maxNode), shorten(name, maxNode))
		}
	}
	return nil
}

// peerOf is the address of a stream's client, and its TLS; nil without.
func peerOf(ctx context.Context) (address string, state *tls.ConnectionState) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return "", nil
	}
	if info, ok := p.AuthInfo.(credentials.TLSInfo); ok {
		state = &info.State
	}
	return p.Addr.String(), state
}

// named returns the id in a client's certificate; "" without a certificate. A certificate
// without a name has no id that a policy could list. One with several names has none
// either, and is refused.
func (s *Server) named(state *tls.ConnectionState) (string, error) {
	id, err := certs.ID(state)
	if errors.Is(err, certs.ErrNoName) {
		return unnamed, nil
	}
	if err != nil {
		s.opts.Refused(refusedCert)
	}
	return id, err
}

// unnamed is the id of a client whose certificate names none. The node id that the client sends
// must not be used instead.
const unnamed = "(no name in the certificate)"
