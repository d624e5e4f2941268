package keyfile

import (
	"bytes"
	"crypto/ed25519"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAServicesPairFitsTogether(t *testing.T) {
	for _, name := range []string{"payments", "with-a-dash", "Ünïcode"} {
		private, public, err := NewService(name)
		if err != nil {
			t.Fatal(err)
		}
		got, key, err := ReadService(write(t, "# made today\n"+private+"\n"))
		if err != nil || got != name {
			t.Fatalf("%q reads as %q, %v", name, got, err)
		}
		_, next, err := NewService(name)
		if err != nil {
			t.Fatal(err)
		}
		s, err := ReadServices(write(t, public+" # the old one\n\n"+next+"\n"))
		if err != nil {
			t.Fatal(err)
		}
		keys, owned := s.Owned(name)
		if !owned || len(keys) != 2 || !key.Public().(ed25519.PublicKey).Equal(keys[0]) {
			t.Errorf("%q is owned: %t, by %d keys", name, owned, len(keys))
		}
		if _, owned := s.Owned("another"); owned {
			t.Error("a service that is not named belongs to somebody")
		}
	}
}

func TestAStarLocksServicesThatAreNotNamed(t *testing.T) {
	s, err := ParseServices([]byte("*\n"))
	if err != nil {
		t.Fatal(err)
	}
	if keys, owned := s.Owned("any"); !owned || len(keys) != 0 {
		t.Errorf("owned: %t, keys: %v", owned, keys)
	}
	var none *Services
	if _, owned := none.Owned("any"); owned {
		t.Error("without a file a service belongs to somebody")
	}
}

func TestTheEDSPairFitsTogether(t *testing.T) {
	private, public, err := NewEDS()
	if err != nil {
		t.Fatal(err)
	}
	key, err := ReadEDS(write(t, private))
	if err != nil {
		t.Fatal(err)
	}
	keys, err := ReadEDSPublic(write(t, public))
	if err != nil || len(keys) != 1 || !bytes.Equal(keys[0], key.Public().(ed25519.PublicKey)) {
		t.Errorf("public keys %v, %v", keys, err)
	}
	if _, _, err := ReadService(write(t, private)); err == nil {
		t.Error("the EDS servers' key passes for a service's")
	}
	if _, err := ReadEDSPublic(write(t, private)); err == nil || strings.Contains(err.Error(), strings.Fields(private)[1]) {
		t.Errorf("a private key where a public one belongs: %v", err)
	}
}

func TestBadKeyFilesAreExplained(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "holds no key",
		"payments":                     "line 1: is not a service's name",
		"payments AAAA":                "base64 of 32 bytes",
		"\npay/ments " + "AAAA":        "line 2: service name",
		"payments " + "not-base64-at!": "base64 of 32 bytes",
	} {
		if _, err := ParseServices([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error is %v, want one that says %q", text, err, want)
		}
	}
	if _, err := ReadServices(filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "--service-keys") {
		t.Errorf("no file: %v", err)
	}
	if _, err := ReadServices(write(t, strings.Repeat("#", maxFile+1))); err == nil {
		t.Error("an endless file is read")
	}
	if _, _, err := NewService("a/b"); err == nil {
		t.Error("a name that no service may have gets a key")
	}
}

func FuzzKeyFiles(f *testing.F) {
	private, public, _ := NewService("payments")
	eds, edsPub, _ := NewEDS()
	for _, s := range []string{private, public, eds, edsPub, "*", "# comment\n\n*\npayments x", "service-private-key  AAAA"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if s, err := ParseServices(text); err == nil {
			for name, keys := range s.Keys {
				for _, k := range keys {
					if len(k) != ed25519.PublicKeySize {
						t.Fatalf("%q has a key of %d bytes", name, len(k))
					}
				}
			}
		}
		for _, kind := range []string{servicePrivate, edsPrivate} {
			if _, key, err := parsePrivate(text, kind); err == nil && len(key) != ed25519.PrivateKeySize {
				t.Fatalf("key of %d bytes", len(key))
			}
		}
	})
}
