package main

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rollcall-fleet/rollcall/cmd/rollcall/cli"
	"github.com/rollcall-fleet/rollcall/gossip"
	"github.com/rollcall-fleet/rollcall/internal/auth"
	"github.com/rollcall-fleet/rollcall/internal/keyfile"
)

// makes runs rollcall in this process and returns both of its outputs.
func makes(t *testing.T, args ...string) (out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(&stdout)
	root.SetErr(&stderr)
	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Fatalf("rollcall %q: %v", args, err)
	}
	return stdout.String(), stderr.String()
}

// kept is a file with this text.
func kept(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func wantForm(t *testing.T, what, got, form string) {
	t.Helper()
	if !regexp.MustCompile("^" + form + "\n$").MatchString(got) {
		t.Errorf("%s is %q, want %s and no more", what, got, form)
	}
}

// What is secret goes to standard output, what others are to have to standard error,
// a line each, and the files made of them are what the flags take.
func TestKeygenPrintsWhatTheFlagsTake(t *testing.T) {
	const b64 = `[A-Za-z0-9+/]{43}=` // of 32 bytes
	t.Run("gossip", func(t *testing.T) {
		out, errs := makes(t, "keygen", "gossip")
		wantForm(t, "the key", out, b64)
		keys, err := gossip.ReadKeyFile(kept(t, out))
		if err != nil || len(keys) != 1 || errs != "" {
			t.Errorf("%d keys, %v, standard error %q", len(keys), err, errs)
		}
	})
	t.Run("service", func(t *testing.T) {
		out, errs := makes(t, "keygen", "service", "payments")
		wantForm(t, "the private key", out, "service-private-key payments "+b64)
		wantForm(t, "the public line", errs, "payments "+b64)
		name, key, err := keyfile.ReadService(kept(t, out))
		if err != nil || name != "payments" {
			t.Fatalf("--service-key reads %q, %v", name, err)
		}
		services, err := keyfile.ReadServices(kept(t, errs))
		if err != nil {
			t.Fatal(err)
		}
		if keys, _ := services.Owned("payments"); len(keys) != 1 || !keys[0].Equal(key.Public()) {
			t.Error("the two do not belong together")
		}
	})
	t.Run("eds", func(t *testing.T) {
		out, errs := makes(t, "keygen", "eds")
		wantForm(t, "the private key", out, "eds-private-key "+b64)
		wantForm(t, "the public key", errs, "eds-public-key "+b64)
		key, err := keyfile.ReadEDS(kept(t, out))
		if err != nil {
			t.Fatal(err)
		}
		public, err := keyfile.ReadEDSPublic(kept(t, errs))
		if err != nil || !slices.EqualFunc(public, []ed25519.PublicKey{key.Public().(ed25519.PublicKey)}, func(a, b ed25519.PublicKey) bool { return a.Equal(b) }) {
			t.Errorf("the two do not belong together: %v", err)
		}
	})
	for _, role := range []auth.Role{auth.Viewer, auth.Operator} {
		t.Run("token of "+string(role), func(t *testing.T) {
			out, errs := makes(t, "keygen", "token", "--role", string(role), "--name", "alice")
			wantForm(t, "the token", out, `rollcall_[A-Za-z0-9_-]{43}`)
			wantForm(t, "the line", errs, string(role)+" alice [0-9a-f]{64}")
			tokens, err := auth.ParseTokens([]byte(errs))
			if err != nil {
				t.Fatal(err)
			}
			if id, ok := tokens.Find(strings.TrimSpace(out)); !ok || id != (auth.Identity{Name: "alice", Role: role}) {
				t.Errorf("the token is of %+v, %t", id, ok)
			}
		})
	}
}

func TestKeygenPrintsNothingWhenItIsAskedWrongly(t *testing.T) {
	for line, want := range map[string]string{
		"keygen service":                      "give",
		"keygen service a/b":                  `"a/b"`,
		"keygen service a#b":                  "comment",
		"keygen token --role viewer":          "--name is missing",
		"keygen token --role root --name ann": `--role: role "root"`,
		"keygen token --name ":                "--name: ",
		"keygen eds now":                      "unknown command",
		"certs init --life 0s":                "--life is 0s",
	} {
		out, err := invoke(t, strings.Split(line, " ")...)
		var usage cli.UsageError
		if !errors.As(err, &usage) || !strings.Contains(err.Error(), want) || out != "" {
			t.Errorf("%s: it prints %q and fails with %T %v, want a mistake with %q", line, out, err, err, want)
		}
	}
}

func TestCertsInitSaysHowToUseWhatItMade(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	out, errs := makes(t, "certs", "init", "--dir", dir, "--host", "eds-1.internal")
	want := strings.ReplaceAll(`These certificates are for trying it out: keep the CA's key of a real fleet elsewhere.

rollcall eds --xds-cert DIR/eds.pem --xds-key DIR/eds-key.pem --xds-client-ca DIR/ca.pem
rollcall envoy run --tls-ca DIR/ca.pem --tls-cert DIR/envoy.pem --tls-key DIR/envoy-key.pem
`, "DIR", dir)
	if out != want || errs != "" {
		t.Errorf("it prints %q and %q, want %q", out, errs, want)
	}
	modes := make(map[string]os.FileMode)
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		modes[e.Name()] = info.Mode().Perm()
	}
	for _, name := range []string{"ca", "eds", "envoy", "operator"} {
		if modes[name+".pem"]&^0o644 != 0 || modes[name+"-key.pem"] != 0o600 {
			t.Errorf("%s.pem has mode %o, its key %o", name, modes[name+".pem"], modes[name+"-key.pem"])
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 || len(modes) != 8 {
		t.Errorf("the folder has mode %o and %d files, %v", info.Mode().Perm(), len(modes), err)
	}
	if out, err := invoke(t, "certs", "init", "--dir", dir); err == nil || out != "" || !strings.Contains(err.Error(), "is there already") {
		t.Errorf("made again over the first it prints %q, %v", out, err)
	}
}
