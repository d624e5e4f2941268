package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rollcall-fleet/rollcall/envoy"
	"github.com/rollcall-fleet/rollcall/internal/certs"
)

// identity is the configuration of a client with such a certificate; its connections
// stay open.
func (l *locked) identity(leaf certs.Leaf) (*http.Client, *tls.Config) {
	l.t.Helper()
	cert, key, err := l.ca.Issue(leaf)
	must(l.t, cert, err)
	pair := must2(tls.X509KeyPair(cert, key))(l.t)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(l.ca.PEM)
	config := &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config}}, config
}

func (l *locked) get(client *http.Client, token, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(l.t.Context(), http.MethodGet, "https://"+l.Addresses.HTTP+path, nil)
	if err != nil {
		return nil, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return client.Do(req)
}

// ended waits until the server ends what it streams.
func ended(t *testing.T, what string, body io.ReadCloser) {
	t.Helper()
	defer body.Close()
	over := make(chan error, 1)
	go func() {
		_, err := io.Copy(io.Discard, body)
		over <- err
	}()
	select {
	case <-over:
	case <-time.After(10 * time.Second):
		t.Errorf("%s goes on", what)
	}
}

func TestARevokedTokenHearsNoMoreEvents(t *testing.T) {
	t.Parallel()
	l := newLocked(t)
	l.start(envoy.GRPC)
	client, _ := l.identity(certs.Leaf{Name: "nobody in particular"})
	resp, err := l.get(client, l.token, "/events")
	must(t, resp, err)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d", resp.StatusCode)
	}
	l.write(l.at("tokens"), []byte("# all of them are revoked\n"))
	ended(t, "a stream of events whose token was revoked", resp.Body)
}

// A request that is let in may take its time over its body.
func TestARevokedTokenDecidesNoMoreByABodyThatIsSlow(t *testing.T) {
	t.Parallel()
	l := newLocked(t)
	l.start(envoy.GRPC)
	client, _ := l.identity(certs.Leaf{Name: "nobody in particular"})
	body, write := io.Pipe()
	t.Cleanup(func() { _ = body.Close() })
	go func() {
		_, _ = io.WriteString(write, `{"hosts":[{"ip_address":"10.9.9.9","port":666,"tags":{}}]`)
		time.Sleep(time.Second) // it is let in by then
		l.write(l.at("tokens"), []byte("# all of them are revoked\n"))
		time.Sleep(4 * time.Second)
		_, _ = io.WriteString(write, "}")
		_ = write.Close()
	}()
	req := must2(http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+l.Addresses.HTTP+"/edsservice/stolen", body))(t)
	req.Header.Set("Authorization", "Bearer "+l.token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	must(t, resp, err)
	defer resp.Body.Close()
	if resp.StatusCode < http.StatusBadRequest {
		t.Errorf("status %d seconds after the token was revoked", resp.StatusCode)
	}
}

func TestAnExpiredCertificateDecidesNoMore(t *testing.T) {
	t.Parallel()
	l := newLocked(t)
	l.start(envoy.GRPC, "--http-operators", "ops")
	const life = 7 * time.Second // a busy machine may need some of them to ask
	began := time.Now()
	client, _ := l.identity(certs.Leaf{Name: "ops", Life: life})
	status := func() int {
		resp, err := l.get(client, "", "/members")
		must(t, resp, err)
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	if got := status(); got != http.StatusOK {
		t.Fatalf("status %d while it is good", got)
	}
	resp, err := l.get(client, "", "/events")
	must(t, resp, err)
	ended(t, "a stream of events whose certificate has expired", resp.Body)
	time.Sleep(time.Until(began.Add(life + time.Second)))
	if got := status(); got != http.StatusUnauthorized {
		t.Errorf("status %d once it has expired", got)
	}
}

// An Envoy reads its certificate only as it starts.
func TestAStreamOutlivesItsCertificateUnlessItIsToBeCut(t *testing.T) {
	t.Parallel()
	for _, cut := range []bool{false, true} {
		t.Run(fmt.Sprintf("cut %v", cut), func(t *testing.T) {
			t.Parallel()
			l := newLocked(t)
			l.start(envoy.GRPC, fmt.Sprintf("--xds-cut-expired=%v", cut))
			_, config := l.identity(certs.Leaf{Name: "envoy", ID: certs.EnvoyID, Life: 4 * time.Second})
			stream := must2(subscriber(within(t, patience), t, l.Addresses.XDS, config))(t)
			must(t, 0, stream.Send(subscription(l.Service)))
			must2(stream.Recv())(t)
			answer := make(chan error, 1)
			go func() {
				_, err := stream.Recv()
				answer <- err
			}()
			if cut {
				if err := <-answer; status.Code(err) != codes.Unauthenticated {
					t.Errorf("it ends with %v", err)
				}
				return
			}
			l.eventually("it is shown", func(ctx context.Context) error {
				n, err := l.metric(ctx, "rollcall_xds_clients_certificate_expired")
				if err == nil && n != 1 {
					err = errors.New("no client is counted")
				}
				return err
			})
			select {
			case err := <-answer:
				t.Errorf("it ends with %v", err)
			case <-time.After(time.Second):
			}
		})
	}
}
