package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/cmd/rollcall/cli"
	"github.com/rollcall-fleet/rollcall/internal/certs"
)

// secured runs rollcall security check.
func secured(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	root := newRoot()
	root.SetArgs(append([]string{"security", "check"}, args...))
	root.SetOut(&out)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func TestWhatIsOpenOrNotLockedIsFound(t *testing.T) {
	dir := t.TempDir()
	at := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, []byte("x"), 0o600), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ca, err := certs.NewCA("ca", 0)
	if err != nil {
		t.Fatal(err)
	}
	issue := func(name string, life time.Duration) string {
		cert, _, err := ca.Issue(certs.Leaf{Name: name, Life: life})
		path := filepath.Join(dir, name+".pem")
		if err := errors.Join(err, os.WriteFile(path, cert, 0o600)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	key, shared, token := at("gossip.key", 0o600), at("shared.key", 0o640), at("tokens", 0o602)
	fresh, soon, over := issue("fresh", 300*24*time.Hour), issue("soon", 10*24*time.Hour), issue("over", -time.Hour)
	data := "--data-dir=" + filepath.Join(dir, "data")
	for _, tt := range []struct {
		line string
		want []string
	}{
		{"eds " + data, nil},
		{"eds --gossip 10.0.0.5:7946 " + data, []string{"open: --gossip 10.0.0.5", "without --eds-key", "without --service-keys", "without --xds-policy", "without --eds-pub", "without --allow-cidr"}},
		{"eds --http 0.0.0.0:8080 --http-cert " + fresh + " --http-key " + key + " --http-tokens " + key + " --eds-key " + key + " --eds-pub " + key + " --service-keys " + key + " --xds-policy " + key + " --allow-cidr 10.0.0.0/8 " + data, nil},
		{"upstream --gossip-key-file " + shared, []string{"shared.key (mode 0640) is a secret and can be read by its group"}},
		{"eds --http-tokens " + token + " " + data, []string{"tokens (mode 0602) can be written by every user"}},
		{"eds --http-cert " + soon + " --xds-cert " + over + " " + data, []string{`"soon" in --http-cert`, `"over" in --xds-cert`}},
		{"eds --eds-key " + dir + "/none " + data, []string{"file: --eds-key: stat"}},
		{"envoy run --admin 0.0.0.0:9901", []string{"open: --admin 0.0.0.0"}},
	} {
		out, err := secured(t, strings.Fields(tt.line)...)
		if (err == nil) != (len(tt.want) == 0) || err != nil && cli.ExitCode(err) != cli.ExitFailed {
			t.Errorf("%s: error %v\n%s", tt.line, err, out)
		}
		if err != nil && strings.Count(out, "\n") != len(tt.want) {
			t.Errorf("%s: it says\n%s", tt.line, out)
		}
		for _, want := range tt.want {
			if !strings.Contains(out, want) {
				t.Errorf("%s: it says\n%s\nwant %s", tt.line, out, want)
			}
		}
	}
}

func TestSecurityChecksWhatIsAskedFor(t *testing.T) {
	var usage cli.UsageError
	for _, line := range []string{"", "members", "nothing", "eds --nothing", "--pid 1 eds"} {
		if _, err := secured(t, strings.Fields(line)...); !errors.As(err, &usage) {
			t.Errorf("%q: error %v", line, err)
		}
	}
	t.Setenv("ROLLCALL_HTTP", "10.0.0.5:8080")
	if out, err := secured(t, "eds", "--data-dir", t.TempDir()); err == nil || !strings.Contains(out, "open: --http 10.0.0.5") {
		t.Errorf("of the environment it says %s, %v", out, err)
	}
	if _, err := secured(t, "--pid", fmt.Sprint(os.Getpid())); err == nil {
		t.Error("a process that is none of rollcall's is looked at")
	}
}
