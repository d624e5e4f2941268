package certs

import (
	"bufio"
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// place is a folder with a CA and the files of a server.
type place struct {
	*testing.T
	ca    *CA
	files Files
}

func newPlace(t *testing.T) *place {
	dir := t.TempDir()
	p := &place{T: t, ca: newCA(t), files: Files{
		Cert: filepath.Join(dir, "s.pem"), Key: filepath.Join(dir, "s-key.pem"), PeerCA: filepath.Join(dir, "ca.pem"),
	}}
	p.write(p.files.PeerCA, p.ca.PEM)
	p.serverCert("first")
	return p
}

func newCA(t *testing.T) *CA {
	t.Helper()
	ca, err := NewCA("test CA", 0)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

func (p *place) write(path string, content []byte) {
	p.Helper()
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		p.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		p.Fatal(err)
	}
}

func (p *place) serverCert(name string) {
	p.Helper()
	cert, key, err := p.ca.Issue(Leaf{Name: name, Hosts: []string{"eds.test"}})
	if err != nil {
		p.Fatal(err)
	}
	p.write(p.files.Cert, cert)
	p.write(p.files.Key, key)
}

func (p *place) server(auth tls.ClientAuthType) *tls.Config {
	p.Helper()
	config, err := Server(p.files, auth, slog.New(slog.DiscardHandler), "h2")
	if err != nil {
		p.Fatal(err)
	}
	return config
}

// client is the configuration of one that trusts p's CA and shows a leaf of ca's.
func (p *place) client(ca *CA, leaf Leaf) *tls.Config {
	p.Helper()
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(p.ca.PEM)
	config := &tls.Config{RootCAs: pool, ServerName: "eds.test", NextProtos: []string{"h2"}}
	if ca == nil {
		return config
	}
	cert, key, err := ca.Issue(leaf)
	if err != nil {
		p.Fatal(err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		p.Fatal(err)
	}
	// Shown whatever the server says it accepts, as an attacker would.
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	return config
}

// connection is both ends of one, after the handshake.
type connection struct{ client, server *tls.Conn }

func (c connection) close() { _, _ = c.client.NetConn().Close(), c.server.NetConn().Close() }

// echo sends a line there.
func (c connection) echo(t *testing.T) {
	t.Helper()
	done := make(chan error, 1)
	go func() { _, err := c.client.Write([]byte("hello\n")); done <- err }()
	line, err := bufio.NewReader(c.server).ReadString('\n')
	if err != nil || line != "hello\n" || <-done != nil {
		t.Errorf("got %q, error %v", line, err)
	}
}

// connect returns what became of the handshake at the server, which has the last
// word: a TLS 1.3 client that was refused learns of it when it reads.
func connect(server, client *tls.Config) (connection, error) {
	a, b := net.Pipe()
	c := connection{tls.Client(a, client), tls.Server(b, server)}
	theirs := make(chan error, 1)
	go func() {
		_, err := c.client.Read(make([]byte, 1))
		theirs <- err
	}()
	_, err := c.server.Write([]byte{1})
	if err != nil {
		_ = b.Close()
	}
	return c, cmp.Or(err, <-theirs)
}

func TestOnlyClientsOfTheCAGetIn(t *testing.T) {
	p := newPlace(t)
	stranger := newCA(t)
	server := p.server(tls.RequireAndVerifyClientCert)
	for _, tt := range []struct {
		name   string
		client *tls.Config
		want   string // "" gets in
	}{
		{"a client of the CA", p.client(p.ca, Leaf{Name: "envoy"}), ""},
		{"no certificate", p.client(nil, Leaf{}), "didn't provide a certificate"},
		{"another CA's", p.client(stranger, Leaf{Name: "envoy"}), "unknown authority"},
		{"an expired one", p.client(p.ca, Leaf{Name: "envoy", Life: -time.Minute}), "expired"},
		{"a server's", p.client(p.ca, Leaf{Name: "envoy", Hosts: []string{"envoy"}}), "incompatible key usage"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := connect(server, tt.client)
			defer c.close()
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestARotationIsForNewConnectionsAndDropsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t)
		server, client := p.server(tls.RequireAndVerifyClientCert), p.client(p.ca, Leaf{Name: "envoy"})
		client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
		dial := func(want string) connection {
			t.Helper()
			c, err := connect(server, client)
			if err != nil {
				t.Fatal(err)
			}
			state := c.client.ConnectionState()
			if got := state.PeerCertificates[0].Subject.CommonName; got != want || state.NegotiatedProtocol != "h2" {
				t.Errorf("the server is %q, want %q, protocol %q", got, want, state.NegotiatedProtocol)
			}
			return c
		}
		old := dial("first")
		defer old.close()
		for i := range 3 {
			name := fmt.Sprintf("rotated %d", i)
			p.serverCert(name)
			time.Sleep(time.Second)
			dial(name).close()
			old.echo(t)
		}

		t.Log("a key that does not fit changes nothing")
		p.write(p.files.Key, p.ca.KeyPEM)
		time.Sleep(time.Second)
		dial("rotated 2").close()

		t.Log("a CA that is not trusted any more lets nobody in, whoever was in before")
		p.serverCert("last")
		p.write(p.files.PeerCA, newCA(t).PEM)
		time.Sleep(time.Second)
		if c, err := connect(server, client); err == nil {
			t.Error("a client of the old CA got in")
			c.close()
		}
		old.echo(t)
	})
}

func TestFilesThatCannotBeServedAreNamed(t *testing.T) {
	p := newPlace(t)
	empty := filepath.Join(t.TempDir(), "empty")
	p.write(empty, nil)
	for _, tt := range []struct {
		files Files
		want  string
	}{
		{Files{"missing", p.files.Key, ""}, "missing"},
		{Files{p.files.Cert, "missing", ""}, "missing"},
		{Files{p.files.Cert, p.files.Key, "missing"}, "missing"},
		{Files{p.files.Cert, p.files.Cert, ""}, p.files.Cert},
		{Files{p.files.Cert, p.files.Key, empty}, "no PEM certificate"},
	} {
		if _, err := Server(tt.files, tls.NoClientCert, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: error %v, want %q", tt.files, err, tt.want)
		}
	}
	for files, want := range map[Files]string{
		{}: "", {"c", "k", ""}: "", {"c", "k", "a"}: "", {"c", "", ""}: "--xds-key", {"", "k", "a"}: "--xds-cert", {"", "", "a"}: "means nothing without TLS",
	} {
		if err := files.Check("xds"); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: error %v, want %q", files, err, want)
		}
	}
}

func TestAClientIsWhoItsCertificateSays(t *testing.T) {
	p := newPlace(t)
	server := p.server(tls.VerifyClientCertIfGiven)
	for _, tt := range []struct {
		client *tls.Config
		want   string
		err    bool
	}{
		{p.client(p.ca, Leaf{Name: "cn", ID: "spiffe://fleet/a"}), "spiffe://fleet/a", false},
		{p.client(p.ca, Leaf{Name: "cn"}), "cn", false},
		{p.client(p.ca, Leaf{Name: "cn", ID: "https://fleet/a"}), "cn", false},
		{p.client(p.ca, Leaf{}), "", true},
		{p.client(nil, Leaf{}), "", false},
	} {
		c, err := connect(server, tt.client)
		if err != nil {
			t.Fatal(err)
		}
		state := c.server.ConnectionState()
		if got, err := ID(&state); got != tt.want || (err != nil) != tt.err {
			t.Errorf("%q, error %v, want %q", got, err, tt.want)
		}
		c.close()
	}
	id := func(name string, uris ...string) (string, error) {
		cert := &x509.Certificate{Subject: pkix.Name{CommonName: name}}
		for _, u := range uris {
			parsed, err := url.Parse(u)
			if err != nil {
				t.Fatal(err)
			}
			cert.URIs = append(cert.URIs, parsed)
		}
		return ID(&tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}, VerifiedChains: [][]*x509.Certificate{{cert}}})
	}
	for name, uris := range map[string][]string{
		"spiffe://fleet/ops": nil, "https://fleet/ops": nil, // a common name is no URI
		"two": {"spiffe://fleet/a", "spiffe://fleet/b"}, "besides": {"spiffe://fleet/a", "https://fleet/b"},
	} {
		if got, err := id(name, uris...); got != "" || err == nil || errors.Is(err, ErrNoName) {
			t.Errorf("%s with %v is %q, %v", name, uris, got, err)
		}
	}
	if got, err := ID(nil); got != "" || err != nil {
		t.Errorf("without TLS: %q, %v", got, err)
	}
}

// Within a connection an authority may end before the certificates that it signed.
func TestACertificateEndsWithItsChain(t *testing.T) {
	now := time.Now()
	chain := func(hours ...int) (certs []*x509.Certificate) {
		for _, h := range hours {
			certs = append(certs, &x509.Certificate{NotAfter: now.Add(time.Duration(h) * time.Hour)})
		}
		return certs
	}
	for name, tt := range map[string]struct {
		chains [][]*x509.Certificate
		want   time.Duration // 0: never
	}{
		"none":                       {nil, 0},
		"the leaf first":             {[][]*x509.Certificate{chain(1, 5, 9)}, time.Hour},
		"the one in between first":   {[][]*x509.Certificate{chain(5, 2, 9)}, 2 * time.Hour},
		"another chain lasts longer": {[][]*x509.Certificate{chain(5, 2, 9), chain(5, 4, 9), chain(5, 3)}, 4 * time.Hour},
	} {
		state := &tls.ConnectionState{VerifiedChains: tt.chains}
		end := Ends(state)
		if want := now.Add(tt.want); tt.want == 0 != end.IsZero() || tt.want != 0 && !end.Equal(want) {
			t.Errorf("%s: it ends at %s", name, end)
		}
		if tt.want != 0 && (Expired(state, end.Add(-time.Second)) != nil || Expired(state, end) == nil) {
			t.Errorf("%s: it does not expire then", name)
		}
	}
	if !Ends(nil).IsZero() {
		t.Error("a connection without TLS ends")
	}
}

func TestInitMakesWhatTheServerTakesAndOverwritesNothing(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	if err := Init(InitOptions{Dir: dir, Hosts: []string{"eds.test", "10.0.0.1"}, Life: time.Hour}); err != nil {
		t.Fatal(err)
	}
	at := func(name string) string { return filepath.Join(dir, name) }
	server, err := Server(Files{at("eds.pem"), at("eds-key.pem"), at("ca.pem")}, tls.RequireAndVerifyClientCert, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for leaf, id := range map[string]string{EnvoyLeaf: EnvoyID, OperatorLeaf: OperatorID} {
		pair, err := tls.LoadX509KeyPair(at(leaf+".pem"), at(leaf+"-key.pem"))
		if err != nil {
			t.Fatal(err)
		}
		ca, err := readCA(at("ca.pem"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"localhost", "127.0.0.1", "eds.test", "10.0.0.1"} {
			c, err := connect(server, &tls.Config{RootCAs: ca, ServerName: name, Certificates: []tls.Certificate{pair}})
			if err != nil {
				t.Fatalf("%s at %s: %v", leaf, name, err)
			}
			state := c.server.ConnectionState()
			if got, err := ID(&state); got != id || err != nil {
				t.Errorf("%s is %q, %v", leaf, got, err)
			}
			c.close()
		}
	}
	if info, err := os.Stat(at("ca-key.pem")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the CA's key: %v, %v", info, err)
	}
	before, _ := os.ReadFile(at("ca.pem"))
	if err := Init(InitOptions{Dir: dir, Life: time.Hour}); err == nil || !strings.Contains(err.Error(), "there already") {
		t.Errorf("a second time: %v", err)
	}
	if after, _ := os.ReadFile(at("ca.pem")); string(after) != string(before) {
		t.Error("the CA was overwritten")
	}
}
