package eds

import (
	"crypto/tls"
	"log/slog"

	"github.com/rollcall-fleet/rollcall/certs"
)

// Access says who gets in at the ports of an EDS server. Zero lets in everybody
// who reaches them.
type Access struct {
	HTTP, XDS certs.Files // TLS
}

// tlsConfigs returns the TLS of the two ports; nil for one without.
func (a Access) tlsConfigs(logger *slog.Logger) (http, xds *tls.Config, err error) {
	if a.HTTP.Given() {
		// Probes and the console's page come without a certificate.
		if http, err = certs.Server(a.HTTP, tls.VerifyClientCertIfGiven, logger, "h2", "http/1.1"); err != nil {
			return nil, nil, err
		}
	}
	if a.XDS.Given() {
		xds, err = certs.Server(a.XDS, tls.RequireAndVerifyClientCert, logger, "h2")
	}
	return http, xds, err
}
