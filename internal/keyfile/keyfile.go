// Package keyfile reads and writes the files that hold signing keys: a service's,
// the EDS servers', and the public ones by which others check them. One key a line,
// base64; what follows a # is skipped. Errors never hold a private key.
package keyfile

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/internal/reload"
)

const (
	maxFile = 1 << 20 // bytes
	maxKeys = 10_000  // lines that count
)

// The words by which a private key's file begins, so that no two kinds are mixed up.
const (
	servicePrivate = "service-private-key"
	edsPrivate     = "eds-private-key"
	edsPublic      = "eds-public-key"
)

// all is the line of a file of services that locks services without a key.
const all = "*"

// Services are the public keys of the services that have one.
type Services struct {
	Keys map[string][]ed25519.PublicKey // several for a service: while one replaces another
	All  bool                           // services that are not named are served by no member
}

// Owned returns the keys of a service, and whether it must be signed with one.
func (s *Services) Owned(service string) ([]ed25519.PublicKey, bool) {
	if s == nil {
		return nil, false
	}
	keys := s.Keys[service]
	return keys, s.All || len(keys) > 0
}

// ReadServices reads lines of a service's name and a public key of its, and perhaps
// the line * alone, by which services without a line are served by no member.
func ReadServices(path string) (*Services, error) {
	text, err := read("--service-keys", path)
	if err != nil {
		return nil, err
	}
	s, err := ParseServices(text)
	if err != nil {
		return nil, fmt.Errorf("--service-keys %s: %w", path, err)
	}
	return s, nil
}

// ParseServices reads what such a file holds.
func ParseServices(text []byte) (*Services, error) {
	s := &Services{Keys: make(map[string][]ed25519.PublicKey)}
	err := eachLine(text, func(line string) error {
		if line == all {
			s.All = true
			return nil
		}
		i := strings.LastIndexAny(line, " \t")
		if i < 0 {
			return errors.New("is not a service's name and its public key")
		}
		name := strings.TrimSpace(line[:i])
		if err := fleet.CheckService(name); err != nil {
			return err
		}
		key, err := publicKey(line[i+1:])
		if err != nil {
			return err
		}
		s.Keys[name] = append(s.Keys[name], key)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if len(s.Keys) == 0 && !s.All {
		return nil, errors.New("it holds no key: `rollcall keygen service NAME` makes one")
	}
	return s, nil
}

// ReadService reads the private key that `rollcall keygen service` made, and the
// name of the service that it is for.
func ReadService(path string) (string, ed25519.PrivateKey, error) {
	name, key, err := readPrivate("--service-key", path, servicePrivate)
	if err == nil {
		if e := fleet.CheckService(name); e != nil {
			err = fmt.Errorf("--service-key %s: %w", path, e)
		}
	}
	return name, key, err
}

// ReadEDS reads the private key that `rollcall keygen eds` made.
func ReadEDS(path string) (ed25519.PrivateKey, error) {
	_, key, err := readPrivate("--eds-key", path, edsPrivate)
	return key, err
}

// ReadEDSPublic reads the public keys of the EDS servers.
func ReadEDSPublic(path string) ([]ed25519.PublicKey, error) {
	text, err := read("--eds-pub", path)
	if err != nil {
		return nil, err
	}
	var keys []ed25519.PublicKey
	err = eachLine(text, func(line string) error {
		word, rest, _ := strings.Cut(line, " ")
		if word != edsPublic {
			return fmt.Errorf("does not begin with %s, which `rollcall keygen eds` writes", edsPublic)
		}
		key, err := publicKey(strings.TrimSpace(rest))
		keys = append(keys, key)
		return err
	})
	if err == nil && len(keys) == 0 {
		err = errors.New("it holds no key: `rollcall keygen eds` makes one")
	}
	if err != nil {
		return nil, fmt.Errorf("--eds-pub %s: %w", path, err)
	}
	return keys, nil
}

// NewService makes a pair for a service: what its upstreams' key file holds, and the
// line for the EDS servers' --service-keys.
func NewService(name string) (private, public string, err error) {
	if err := fleet.CheckService(name); err != nil {
		return "", "", err
	}
	if strings.Contains(name, "#") {
		return "", "", fmt.Errorf("service name %q has a #, which begins a comment in a key file", name)
	}
	return pair(servicePrivate+" "+name, name)
}

// NewEDS makes the EDS servers' pair: what their key file holds, and what --eds-pub
// of the upstreams does.
func NewEDS() (private, public string, err error) { return pair(edsPrivate, edsPublic) }

func pair(private, public string) (string, string, error) {
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		return "", "", fmt.Errorf("make a key: %w", err)
	}
	return private + " " + base64.StdEncoding.EncodeToString(key.Seed()), public + " " + base64.StdEncoding.EncodeToString(pub), nil
}

func readPrivate(flag, path, kind string) (string, ed25519.PrivateKey, error) {
	text, err := read(flag, path)
	if err != nil {
		return "", nil, err
	}
	name, key, err := parsePrivate(text, kind)
	if err != nil {
		return "", nil, fmt.Errorf("%s %s: %w", flag, path, err)
	}
	return name, key, nil
}

// parsePrivate reads one key of a kind, with the name between the kind and the key.
func parsePrivate(text []byte, kind string) (name string, key ed25519.PrivateKey, err error) {
	err = eachLine(text, func(line string) error {
		if key != nil {
			return errors.New("is a second key, give one")
		}
		fields := strings.Fields(line)
		if len(fields) < 2 || fields[0] != kind {
			return fmt.Errorf("does not begin with %s, which `rollcall keygen` writes", kind)
		}
		seed, err := base64.StdEncoding.Strict().DecodeString(fields[len(fields)-1])
		if err != nil || len(seed) != ed25519.SeedSize {
			return fmt.Errorf("does not end with base64 of %d bytes", ed25519.SeedSize)
		}
		line = strings.TrimSpace(strings.TrimPrefix(line, kind))
		name, key = strings.TrimSpace(strings.TrimSuffix(line, fields[len(fields)-1])), ed25519.NewKeyFromSeed(seed)
		return nil
	})
	if err == nil && key == nil {
		err = errors.New("it holds no key")
	}
	return name, key, err
}

func publicKey(s string) (ed25519.PublicKey, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || len(b) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("does not end with base64 of %d bytes", ed25519.PublicKeySize)
	}
	return b, nil
}

// eachLine calls f for each line that says something, and names it in f's error.
func eachLine(text []byte, f func(string) error) error {
	n, count := 0, 0
	for b := range bytes.Lines(text) {
		n++
		line, _, _ := strings.Cut(string(b), "#")
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if count++; count > maxKeys {
			return fmt.Errorf("it holds more than %d keys", maxKeys)
		}
		if err := f(line); err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
	}
	return nil
}

func read(flag, path string) ([]byte, error) {
	text, err := reload.ReadFile(path, maxFile)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return text, nil
}
