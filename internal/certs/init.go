package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// The leaf certificates that Init makes, by the name of their files, and who the
// clients among them are.
const (
	ServerLeaf   = "eds"      // of an EDS server
	EnvoyLeaf    = "envoy"    // of an Envoy
	OperatorLeaf = "operator" // of a person at the API

	EnvoyID    = "spiffe://rollcall/envoy"
	OperatorID = "operator"
)

// InitOptions say what Init makes.
type InitOptions struct {
	Dir   string   // made when missing; files in it are not overwritten
	Hosts []string // IP addresses and DNS names of the EDS servers, beside the ones of loopback
	Life  time.Duration
}

// Init makes a CA, ca.pem with ca-key.pem, and the leaf certificates, NAME.pem with
// NAME-key.pem. They are for trying it out: the CA's key lies unprotected beside
// them.
func Init(o InitOptions) error {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return fmt.Errorf("make the folder: %w", err)
	}
	ca, err := NewCA("rollcall trial CA", o.Life)
	if err != nil {
		return err
	}
	w := writer{dir: o.Dir}
	w.pair("ca", ca.PEM, ca.KeyPEM)
	server := Leaf{Name: "rollcall eds", Hosts: append([]string{"127.0.0.1", "::1", "localhost"}, o.Hosts...), Life: o.Life}
	for name, leaf := range map[string]Leaf{
		ServerLeaf: server, EnvoyLeaf: {Name: "envoy", ID: EnvoyID, Life: o.Life}, OperatorLeaf: {Name: OperatorID, Life: o.Life},
	} {
		cert, key, err := ca.Issue(leaf)
		if err != nil {
			return err
		}
		w.pair(name, cert, key)
	}
	return w.err
}

// writer writes new files until one fails.
type writer struct {
	dir string
	err error
}

func (w *writer) pair(name string, cert, key []byte) {
	w.file(name+".pem", cert, 0o644)
	w.file(name+"-key.pem", key, 0o600)
}

func (w *writer) file(name string, content []byte, mode os.FileMode) {
	if w.err != nil {
		return
	}
	path := filepath.Join(w.dir, name)
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		w.err = fmt.Errorf("%s is there already, give another folder or remove it", path)
		return
	}
	if err == nil {
		_, err = f.Write(content)
		err = errors.Join(err, f.Close())
	}
	w.err = err
}

// CA signs certificates. Its methods may be called from any goroutine.
type CA struct {
	PEM, KeyPEM []byte

	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// Leaf is a certificate to issue.
type Leaf struct {
	Name  string        // common name
	ID    string        // SPIFFE id of a client; ""
	Hosts []string      // IP addresses and DNS names of a server; none: a client
	Life  time.Duration // from a minute ago on, negative for one that has expired; 0: a year
}

// year is how long a certificate is good unless told otherwise.
const year = 365 * 24 * time.Hour

// NewCA makes a CA.
func NewCA(name string, life time.Duration) (*CA, error) {
	template := template(name, life)
	template.IsCA, template.BasicConstraintsValid, template.MaxPathLenZero = true, true, true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	var err error
	ca := &CA{}
	if ca.key, ca.KeyPEM, err = newKey(); err != nil {
		return nil, err
	}
	if ca.PEM, err = sign(template, template, &ca.key.PublicKey, ca.key); err != nil {
		return nil, err
	}
	block, _ := pem.Decode(ca.PEM)
	ca.cert, err = x509.ParseCertificate(block.Bytes)
	return ca, err
}

// Issue makes a key and the certificate for it, both in PEM.
func (c *CA) Issue(l Leaf) (cert, key []byte, err error) {
	template := template(l.Name, l.Life)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if len(l.Hosts) > 0 {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	for _, host := range l.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	if l.ID != "" {
		uri, err := url.Parse(l.ID)
		if err != nil {
			return nil, nil, fmt.Errorf("spiffe id: %w", err)
		}
		template.URIs = []*url.URL{uri}
	}
	private, key, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	cert, err = sign(template, c.cert, &private.PublicKey, c.key)
	return cert, key, err
}

func template(name string, life time.Duration) *x509.Certificate {
	if life == 0 {
		life = year
	}
	now := time.Now()
	t := &x509.Certificate{Subject: pkix.Name{CommonName: name}, NotBefore: now.Add(-time.Minute), NotAfter: now.Add(life)}
	if life < 0 {
		t.NotBefore = t.NotAfter.Add(-time.Hour)
	}
	return t
}

func newKey() (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("make a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("encode a key: %w", err)
	}
	return key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func sign(template, parent *x509.Certificate, public *ecdsa.PublicKey, key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, fmt.Errorf("sign a certificate: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}
