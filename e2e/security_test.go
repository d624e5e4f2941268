package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/envoy"
	"github.com/rollcall-fleet/rollcall/internal/auth"
	"github.com/rollcall-fleet/rollcall/internal/certs"
	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// locked is a fleet whose EDS server wants certificates on both ports and tokens
// of operators.
type locked struct {
	*harness
	ca    *certs.CA
	files certs.Files // of the EDS server, for both ports
	dir   string
	token string
}

func newLocked(t *testing.T) *locked {
	t.Helper()
	l := &locked{harness: newHarness(t), dir: t.TempDir()}
	ca, err := certs.NewCA("test CA", 0)
	l.ca = must(t, ca, err)
	l.files = certs.Files{Cert: l.at("eds.pem"), Key: l.at("eds-key.pem"), PeerCA: l.at("ca.pem")}
	l.write(l.files.PeerCA, ca.PEM)
	l.issue("eds", certs.Leaf{Name: "first", Hosts: []string{"127.0.0.1"}})
	l.issue("envoy", certs.Leaf{Name: "envoy", ID: certs.EnvoyID})
	token, line, err := auth.NewToken(auth.Identity{Name: "olaf", Role: auth.Operator})
	l.token = must(t, token, err)
	l.write(l.at("tokens"), []byte(line))
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca.PEM)
	l.API.Secure(&tls.Config{RootCAs: pool}, token)
	return l
}

func (l *locked) at(name string) string { return filepath.Join(l.dir, name) }

func (l *locked) write(path string, content []byte) {
	l.t.Helper()
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		l.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		l.t.Fatal(err)
	}
}

// issue writes NAME.pem and NAME-key.pem.
func (l *locked) issue(name string, leaf certs.Leaf) {
	l.t.Helper()
	cert, key, err := l.ca.Issue(leaf)
	if err != nil {
		l.t.Fatal(err)
	}
	l.write(l.at(name+".pem"), cert)
	l.write(l.at(name+"-key.pem"), key)
}

func (l *locked) start(api envoy.API, args ...string) {
	l.t.Helper()
	f := l.files
	l.eds(append([]string{"--http-cert", f.Cert, "--http-key", f.Key, "--http-client-ca", f.PeerCA, "--http-tokens", l.at("tokens"),
		"--xds-cert", f.Cert, "--xds-key", f.Key, "--xds-client-ca", f.PeerCA}, args...)...)
	l.envoy(api, "--tls-ca", f.PeerCA, "--tls-cert", l.at("envoy.pem"), "--tls-key", l.at("envoy-key.pem"), "--no-retries")
}

// served is the common name of the certificate that a port serves now.
func (l *locked) served(addr string) (string, error) {
	conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true}) // only looked at
	if err != nil {
		return "", err
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].Subject.CommonName, nil
}

func TestACertificateRotatedUnderLoadFailsNoRequest(t *testing.T) {
	t.Parallel()
	for _, api := range envoy.APIs() {
		t.Run(string(api), func(t *testing.T) {
			t.Parallel()
			l := newLocked(t)
			l.start(api)
			one := l.upstream()
			l.serves(one)
			before := l.connected()

			load := l.load()
			for i := range 3 {
				name := fmt.Sprintf("rotated %d", i)
				l.issue("eds", certs.Leaf{Name: name, Hosts: []string{"127.0.0.1"}})
				for _, addr := range []string{l.Addresses.HTTP, l.Addresses.XDS} {
					l.eventually("the new certificate", func(context.Context) error {
						got, err := l.served(addr)
						if err == nil && got != name {
							err = fmt.Errorf("%s serves %q, not %q", addr, got, name)
						}
						return err
					})
				}
			}
			two := l.upstream()
			l.serves(one, two)
			l.noneFailed(load)
			if after := l.connected(); api != envoy.REST && after != before {
				t.Errorf("the stream of %s was dropped, there is one of %s", before, after)
			}
		})
	}
}

// connected is when the one xDS client connected.
func (l *locked) connected() time.Time {
	l.t.Helper()
	var list struct {
		Clients []struct{ Connected time.Time }
	}
	if err := l.API.Get(within(l.t, patience), "/clients", &list); err != nil || len(list.Clients) != 1 {
		l.t.Fatalf("clients %+v, error %v", list, err)
	}
	return list.Clients[0].Connected
}

func TestAnEnvoyReadsOnlyWhatThePolicySays(t *testing.T) {
	t.Parallel()
	for _, api := range []envoy.API{envoy.REST, envoy.DeltaADS} {
		t.Run(string(api), func(t *testing.T) {
			t.Parallel()
			l := newLocked(t)
			l.write(l.at("policy"), []byte("envoy: [myservice]\n")) // its node id, which is not asked
			l.start(api, "--xds-policy", l.at("policy"))
			one := l.upstream()
			l.lists(one)
			const refused = `rollcall_refused_total{reason="xds_policy"}`
			before, _ := l.metric(within(t, patience), refused) // none yet: it may not have asked
			l.eventually("envoy asks and is refused", func(ctx context.Context) error {
				n, err := l.metric(ctx, refused)
				if err == nil && n <= before {
					err = fmt.Errorf("%v refusals are counted, before it were %v", n, before)
				}
				return err
			})
			l.servesNobody()
			l.write(l.at("policy"), []byte(certs.EnvoyID+": [myservice]\n"))
			l.serves(one)
		})
	}
}

func TestALockedServerAnswersOnlyWhoItKnows(t *testing.T) {
	t.Parallel()
	l := newLocked(t)
	l.start(envoy.GRPC)
	l.operate(201, "POST", stage.HostList(1))
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(l.ca.PEM)
	stranger := stage.NewAPI(l.Addresses.HTTP)
	stranger.Secure(&tls.Config{RootCAs: pool}, "")
	for path, want := range map[string]int{"/healthz": 200, "/": 200, "/members": 401, "/v1/registration/myservice": 401} {
		if _, err := stranger.Expect(within(t, patience), want, http.MethodGet, path, ""); err != nil {
			t.Error(err)
		}
	}
	if _, err := stage.NewAPI(l.Addresses.HTTP).Expect(within(t, patience), 400, "GET", "/members", ""); err != nil {
		t.Errorf("plain HTTP: %v", err)
	}
}

// The verbs get in with a token or with a certificate, and decide in that name.
func TestTheVerbsAskALockedServer(t *testing.T) {
	t.Parallel()
	l := newLocked(t)
	l.issue("ann", certs.Leaf{Name: "ann"})
	l.write(l.at("olaf.token"), []byte(l.token+"\n"))
	l.start(envoy.GRPC, "--http-viewers", "ann")
	server := []string{"--server", "https://" + l.Addresses.HTTP, "--ca", l.files.PeerCA}
	ask := func(want int, says string, args ...string) {
		t.Helper()
		if code, out := rollcall(t, append(args, server...)...); code != want || !strings.Contains(out, says) {
			t.Errorf("%q: exit code %d, want %d with %q:\n%s", args, code, want, says, out)
		}
	}
	olaf, ann := []string{"--token-file", l.at("olaf.token")}, []string{"--cert", l.at("ann.pem"), "--key", l.at("ann-key.pem")}
	drain := []string{"drain", l.Service, "127.0.0.1:9", "--ahead"} // nobody serves it
	ask(1, "authentication is required", "members")
	ask(0, "eds", append([]string{"members"}, ann...)...)
	ask(1, "want role operator", append(drain, ann...)...)
	ask(0, "", append(drain, olaf...)...)
	ask(0, "olaf", append([]string{"overrides"}, olaf...)...)
	server = []string{"--server", "http://192.0.2.1:8080"}
	ask(2, "in the clear", append([]string{"members"}, olaf...)...)
}

func TestAnOpenAddressIsRefusedAndItsLockNamed(t *testing.T) {
	t.Parallel()
	for flag, lock := range map[string]string{"--http": "--http-tokens", "--xds": "--xds-client-ca", "--gossip": "--gossip-key-file"} {
		code, out := rollcall(t, "eds", flag, "192.0.2.1:0", "--data-dir", t.TempDir())
		if code != 2 || !strings.Contains(out, lock) || !strings.Contains(out, "--insecure") {
			t.Errorf("%s: exit code %d:\n%s", flag, code, out)
		}
	}
	for _, args := range [][]string{
		{"upstream", "-p", "0", "--address", "192.0.2.1"},
		{"upstream", "-p", "0", "--advertise", "192.0.2.1:7946"},
		{"run", "--service", "s", "--port", "1", "--gossip", "192.0.2.1:0", "--", "true"},
		{"register", "--service", "s", "--address", "127.0.0.1:1", "--gossip", "192.0.2.1:0"},
	} {
		if code, out := rollcall(t, args...); code != 2 || !strings.Contains(out, "--gossip-key-file") {
			t.Errorf("%q: exit code %d:\n%s", args, code, out)
		}
	}
}
