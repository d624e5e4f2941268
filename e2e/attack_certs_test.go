package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	endpointservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/endpoint/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/rollcall-fleet/rollcall/envoy"
	"github.com/rollcall-fleet/rollcall/internal/certs"
)

// subscriber opens a stream to the xDS port as an Envoy would; nil is without TLS.
func subscriber(ctx context.Context, t *testing.T, addr string, config *tls.Config) (endpointservicev3.EndpointDiscoveryService_StreamEndpointsClient, error) {
	t.Helper()
	transport := insecure.NewCredentials()
	if config != nil {
		transport = credentials.NewTLS(config)
	}
	conn := must2(grpc.NewClient(addr, grpc.WithTransportCredentials(transport)))(t)
	t.Cleanup(func() { _ = conn.Close() })
	return endpointservicev3.NewEndpointDiscoveryServiceClient(conn).StreamEndpoints(ctx)
}

// subscription asks for services.
func subscription(names ...string) *discoveryv3.DiscoveryRequest {
	return &discoveryv3.DiscoveryRequest{Node: &corev3.Node{Id: "attacker"}, TypeUrl: resource.EndpointType, ResourceNames: names}
}

// reads reports what a client with this certificate is answered at both ports: nil
// where it reads endpoints.
func (l *locked) reads(config *tls.Config) (httpStatus int, grpcErr, httpErr error) {
	l.t.Helper()
	ctx := within(l.t, patience)
	stream, grpcErr := subscriber(ctx, l.t, l.Addresses.XDS, config)
	if grpcErr == nil {
		_ = stream.Send(subscription(l.Service)) // Recv says what is wrong
		_, grpcErr = stream.Recv()
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	body := `{"node":{"id":"attacker"},"resource_names":["` + l.Service + `"],"type_url":"` + resource.EndpointType + `"}`
	req := must2(http.NewRequestWithContext(ctx, http.MethodPost, "https://"+l.Addresses.HTTP+"/v3/discovery:endpoints", strings.NewReader(body)))(l.t)
	req.Header.Set("Content-Type", "application/json")
	resp, httpErr := client.Do(req)
	if httpErr == nil {
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		httpStatus = resp.StatusCode
	}
	return httpStatus, grpcErr, httpErr
}

func TestOnlyACertificateThatIsGoodGetsIn(t *testing.T) {
	t.Parallel()
	l := newLocked(t)
	l.start(envoy.GRPC)
	one := l.upstream()
	l.serves(one)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(l.ca.PEM)
	with := func(ca *certs.CA, leaf certs.Leaf) *tls.Config {
		config := &tls.Config{RootCAs: pool}
		if ca == nil {
			return config
		}
		certPEM, keyPEM, err := ca.Issue(leaf)
		if err != nil {
			t.Fatal(err)
		}
		pair := must2(tls.X509KeyPair(certPEM, keyPEM))(t)
		// Shown whether or not the server says that it knows who signed it.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
		return config
	}
	wrong, err := certs.NewCA("test CA", 0) // called alike
	must(t, wrong, err)
	envoyLeaf := certs.Leaf{Name: "envoy", ID: certs.EnvoyID}
	expired := envoyLeaf
	expired.Life = -time.Minute

	load := l.load()
	for name, bad := range map[string]*tls.Config{
		"of another CA": with(wrong, envoyLeaf),
		"expired":       with(l.ca, expired),
		"of a server":   with(l.ca, certs.Leaf{Name: "first", Hosts: []string{"127.0.0.1"}}),
	} {
		if status, grpcErr, httpErr := l.reads(bad); grpcErr == nil || httpErr == nil {
			t.Errorf("a certificate %s: gRPC error %v, HTTP error %v with status %d", name, grpcErr, httpErr, status)
		}
	}
	if status, grpcErr, _ := l.reads(with(nil, certs.Leaf{})); grpcErr == nil || status != http.StatusUnauthorized {
		t.Errorf("no certificate: gRPC error %v, HTTP status %d", grpcErr, status)
	}
	if status, grpcErr, httpErr := l.reads(with(l.ca, envoyLeaf)); grpcErr != nil || httpErr != nil || status != http.StatusOK {
		t.Errorf("a good certificate: gRPC error %v, HTTP error %v, status %d", grpcErr, httpErr, status)
	}
	l.isUnderWay(load)
	l.noneFailed(load)
}
