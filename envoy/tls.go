package envoy

import (
	"errors"
	"fmt"
	"net/netip"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
)

// TLS says how Envoy speaks to the EDS servers, over gRPC and REST alike. The
// paths are Envoy's: it reads the files itself, when it starts.
type TLS struct {
	CA        string // PEM certificates of those who sign the servers' certificates; "" for no TLS
	Cert, Key string // PEM certificate chain and key that Envoy shows; both or neither

	// Name is what the servers' certificates must be for, a DNS name or an IP
	// address; "" for the host of one of Options.EDS.
	Name string
}

func (t TLS) check() error {
	if t.CA == "" && t != (TLS{}) {
		return errors.New("tls: no CA is given, so that any server would be believed")
	}
	if (t.Cert == "") != (t.Key == "") {
		return errors.New("tls: certificate and key belong together, give both")
	}
	for _, path := range []string{t.CA, t.Cert, t.Key} {
		if err := checkText("tls: path", path); err != nil {
			return err
		}
	}
	if _, err := netip.ParseAddr(t.Name); t.Name != "" && err != nil && !isHostName(t.Name) {
		return fmt.Errorf("tls: name %q is neither an IP address nor a DNS name", t.Name)
	}
	return nil
}

// transportSocket is nil without TLS.
func (b *builder) transportSocket() *corev3.TransportSocket {
	if b.TLS.CA == "" {
		return nil
	}
	protocol := "h2" // a gRPC server refuses a client that does not say so
	if b.API == REST {
		protocol = "http/1.1"
	}
	common := &tlsv3.CommonTlsContext{
		// Envoy's clients negotiate TLS 1.2 at most by default.
		TlsParams:     &tlsv3.TlsParameters{TlsMinimumProtocolVersion: tlsv3.TlsParameters_TLSv1_2, TlsMaximumProtocolVersion: tlsv3.TlsParameters_TLSv1_3},
		AlpnProtocols: []string{protocol},
		ValidationContextType: &tlsv3.CommonTlsContext_ValidationContext{ValidationContext: &tlsv3.CertificateValidationContext{
			TrustedCa:                 file(b.TLS.CA),
			MatchTypedSubjectAltNames: b.serverNames(),
		}},
	}
	if b.TLS.Cert != "" {
		common.TlsCertificates = []*tlsv3.TlsCertificate{{CertificateChain: file(b.TLS.Cert), PrivateKey: file(b.TLS.Key)}}
	}
	return &corev3.TransportSocket{
		Name: "envoy.transport_sockets.tls",
		ConfigType: &corev3.TransportSocket_TypedConfig{TypedConfig: b.any(
			&tlsv3.UpstreamTlsContext{CommonTlsContext: common, Sni: b.sni()},
		)},
	}
}

// serverNames are the names of which a server's certificate must have one.
func (b *builder) serverNames() (names []*tlsv3.SubjectAltNameMatcher) {
	for _, host := range b.serverHosts() {
		kind := tlsv3.SubjectAltNameMatcher_DNS
		if _, err := netip.ParseAddr(host); err == nil {
			kind = tlsv3.SubjectAltNameMatcher_IP_ADDRESS
		}
		names = append(names, &tlsv3.SubjectAltNameMatcher{SanType: kind, Matcher: &matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_Exact{Exact: host},
		}})
	}
	return names
}

func (b *builder) serverHosts() []string {
	if b.TLS.Name != "" {
		return []string{b.TLS.Name}
	}
	var hosts []string
	for _, s := range b.EDS {
		host, _, _ := splitServer(s) // check has split it before
		hosts = append(hosts, host)
	}
	return hosts
}

// sni is the one DNS name that all servers have; an IP address must not be sent
// (RFC 6066, section 3).
func (b *builder) sni() string {
	hosts := b.serverHosts()
	for _, host := range hosts {
		if _, err := netip.ParseAddr(host); err == nil || host != hosts[0] {
			return ""
		}
	}
	return hosts[0]
}

func file(path string) *corev3.DataSource {
	return &corev3.DataSource{Specifier: &corev3.DataSource_Filename{Filename: path}}
}
