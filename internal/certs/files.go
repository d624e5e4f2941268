// Package certs serves TLS with certificates from files, follows those files
// without dropping a connection, says who a client certificate speaks for, and
// makes certificates for trying it out.
package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/rollcall-fleet/rollcall/internal/reload"
)

// maxFile bounds a file of certificates, in bytes.
const maxFile = 4 << 20

// Files are PEM files of one side of TLS.
type Files struct {
	Cert, Key string // the chain and its key; both or neither
	PeerCA    string // who signs the other side's certificates; "" asks clients for none, and trusts servers as the system does
}

// Given reports whether there is to be TLS at all.
func (f Files) Given() bool { return f.Cert != "" || f.Key != "" || f.PeerCA != "" }

// Check wants what belongs together. port is the prefix of the flags: http or xds.
func (f Files) Check(port string) error {
	switch {
	case !f.Given(), f.Cert != "" && f.Key != "":
		return nil
	case f.Cert == "" && f.Key == "":
		return fmt.Errorf("--%s-client-ca means nothing without TLS: pass --%s-cert and --%s-key too", port, port, port)
	default:
		return fmt.Errorf("--%s-cert and --%s-key belong together: pass both", port, port)
	}
}

// Server returns the configuration of a TLS server that reads f again when it has
// changed: new connections get what is in the files, those that exist go on. With
// a PeerCA, auth says whether a client must show a certificate; a certificate
// that is shown must be good. protos are the application protocols, as in ALPN.
func Server(f Files, auth tls.ClientAuthType, logger *slog.Logger, protos ...string) (*tls.Config, error) {
	read := func() (*tls.Config, error) { return f.config(auth, protos) }
	paths := slices.DeleteFunc([]string{f.Cert, f.Key, f.PeerCA}, func(s string) bool { return s == "" })
	current, err := reload.New(logger, read, paths...)
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: protos,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return current.Get(), nil },
	}, nil
}

func (f Files) config(auth tls.ClientAuthType, protos []string) (*tls.Config, error) {
	certPEM, err := reload.ReadFile(f.Cert, maxFile)
	if err != nil {
		return nil, fmt.Errorf("read the certificate: %w", err)
	}
	keyPEM, err := reload.ReadFile(f.Key, maxFile)
	if err != nil {
		return nil, fmt.Errorf("read the key: %w", err)
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("%s with %s: %w", f.Cert, f.Key, err)
	}
	// Tickets would let in, for days, a client whose CA is not trusted any more.
	config := &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: protos, Certificates: []tls.Certificate{pair},
		SessionTicketsDisabled: true,
	}
	if f.PeerCA == "" {
		return config, nil
	}
	config.ClientAuth = auth
	config.ClientCAs, err = readCA(f.PeerCA)
	return config, err
}

func readCA(path string) (*x509.CertPool, error) {
	b, err := reload.ReadFile(path, maxFile)
	if err != nil {
		return nil, fmt.Errorf("read the CA: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(b) {
		return nil, fmt.Errorf("CA file %s holds no PEM certificate", path)
	}
	return pool, nil
}

// Client returns the configuration of a TLS client that trusts the PeerCA of f, or
// what the system trusts, and shows its certificate if there is one. It is nil when f
// names no file.
func Client(f Files) (*tls.Config, error) {
	switch {
	case !f.Given():
		return nil, nil
	case (f.Cert == "") != (f.Key == ""):
		return nil, errors.New("--cert and --key belong together: pass both")
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.Cert != "" {
		pair, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			return nil, fmt.Errorf("%s with %s: %w", f.Cert, f.Key, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	if f.PeerCA == "" {
		return config, nil
	}
	var err error
	config.RootCAs, err = readCA(f.PeerCA)
	return config, err
}

var (
	// ErrNoName: a certificate without one may be let in where no name is needed.
	ErrNoName   = errors.New("the client certificate names nobody: it wants a SPIFFE id or a common name")
	errTwoIDs   = errors.New("the client certificate has a SPIFFE id and another URI: it may have one URI alone (SPIFFE X509-SVID, section 2)")
	errFalseURI = errors.New("the common name of the client certificate is a URI: an id with :// counts as a URI SAN alone")
)

// Expired returns an error once the certificate of a verified connection's client has
// ended. TLS asks only as the connection begins.
func Expired(state *tls.ConnectionState, now time.Time) error {
	end := Ends(state)
	if end.IsZero() || now.Before(end) {
		return nil
	}
	return fmt.Errorf("the client certificate expired at %s: connect again with another one", end.UTC().Format(time.RFC3339))
}

// Ends returns when the certificate of a verified connection's client ends, or what it
// rests on: the last of its chains counts, and in that the first to end. It is zero
// without a certificate.
func Ends(state *tls.ConnectionState) (end time.Time) {
	if state == nil {
		return end
	}
	for _, chain := range state.VerifiedChains {
		first := slices.MinFunc(chain, func(a, b *x509.Certificate) int { return a.NotAfter.Compare(b.NotAfter) })
		if first.NotAfter.After(end) {
			end = first.NotAfter
		}
	}
	return end
}

// ID returns who a verified connection's client is: the SPIFFE id in its
// certificate (SPIFFE X509-SVID, section 2: the one URI SAN), else the common
// name; "" without an error when it showed none. An id with "://" in it is never a
// common name, which a CA may let its clients choose.
func ID(state *tls.ConnectionState) (string, error) {
	if state == nil || len(state.VerifiedChains) == 0 {
		return "", nil
	}
	cert := state.PeerCertificates[0]
	isID := func(uri *url.URL) bool { return uri.Scheme == "spiffe" }
	switch name := cert.Subject.CommonName; {
	case len(cert.URIs) == 1 && isID(cert.URIs[0]):
		return cert.URIs[0].String(), nil
	case slices.ContainsFunc(cert.URIs, isID):
		return "", errTwoIDs
	case name == "":
		return "", ErrNoName
	case strings.Contains(name, "://"):
		return "", errFalseURI
	default:
		return name, nil
	}
}
