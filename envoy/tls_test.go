package envoy

import (
	"slices"
	"strings"
	"testing"

	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
)

func TestTLSChecksTheServersNameAndShowsTheCertificate(t *testing.T) {
	tests := []struct {
		name    string
		o       Options
		names   []string
		sni     string
		ownCert bool
	}{
		{"addresses", Options{API: GRPC, EDS: []string{"10.0.0.1:1", "[::1]:1"}, TLS: TLS{CA: "ca", Cert: "c", Key: "k"}},
			[]string{"IP_ADDRESS 10.0.0.1", "IP_ADDRESS ::1"}, "", true},
		{"a name", Options{API: REST, EDS: []string{"eds.test:1"}, TLS: TLS{CA: "ca"}}, []string{"DNS eds.test"}, "eds.test", false},
		{"two names", Options{API: Delta, EDS: []string{"a.test:1", "b.test:1"}, TLS: TLS{CA: "ca"}}, []string{"DNS a.test", "DNS b.test"}, "", false},
		{"a name for all", Options{API: DeltaADS, EDS: []string{"a.test:1", "10.0.0.1:1"}, TLS: TLS{CA: "ca", Name: "eds"}}, []string{"DNS eds"}, "eds", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			boot := written(t, tt.o)
			context := new(tlsv3.UpstreamTlsContext)
			if err := clusterOf(t, boot, "xds_cluster").GetTransportSocket().GetTypedConfig().UnmarshalTo(context); err != nil {
				t.Fatal(err)
			}
			common := context.GetCommonTlsContext()
			var names []string
			for _, m := range common.GetValidationContext().GetMatchTypedSubjectAltNames() {
				names = append(names, m.GetSanType().String()+" "+m.GetMatcher().GetExact())
			}
			if !slices.Equal(names, tt.names) || context.GetSni() != tt.sni {
				t.Errorf("names %q, sni %q, want %q, %q", names, context.GetSni(), tt.names, tt.sni)
			}
			if got := common.GetValidationContext().GetTrustedCa().GetFilename(); got != "ca" {
				t.Errorf("trusts %q", got)
			}
			if own := common.GetTlsCertificates(); (len(own) == 1) != tt.ownCert || tt.ownCert && own[0].GetPrivateKey().GetFilename() != "k" {
				t.Errorf("shows %v", own)
			}
			want := "h2"
			if tt.o.API == REST {
				want = "http/1.1"
			}
			if got := common.GetAlpnProtocols(); !slices.Equal(got, []string{want}) {
				t.Errorf("protocols %q, want %q", got, want)
			}
		})
	}
	if socket := clusterOf(t, written(t, Options{API: GRPC}), "xds_cluster").GetTransportSocket(); socket != nil {
		t.Errorf("without TLS: %v", socket)
	}
}

func TestBadTLSIsNamed(t *testing.T) {
	for o, want := range map[TLS]string{
		{Cert: "c", Key: "k"}:    "no CA is given",
		{Name: "eds"}:            "no CA is given",
		{CA: "ca", Cert: "c"}:    "belong together",
		{CA: "ca", Key: "k"}:     "belong together",
		{CA: "c\na"}:             "unprintable",
		{CA: "ca", Name: "e ds"}: "neither an IP address nor a DNS name",
	} {
		if _, err := Bootstrap(Options{API: GRPC, TLS: o}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want %q", o, err, want)
		}
	}
}
