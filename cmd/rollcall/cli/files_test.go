package cli

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/pflag"
)

// flagSet has flags for files, and --data-dir, with these arguments.
func flagSet(t *testing.T, kinds map[string]FileKind, args ...string) *pflag.FlagSet {
	t.Helper()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	for name, kind := range kinds {
		FileVar(flags, new(string), name, "", kind)
	}
	flags.String("data-dir", "", "")
	if err := flags.Parse(args); err != nil {
		t.Fatal(err)
	}
	return flags
}

func TestASecretThatEverybodyCanReadIsToldOf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gossip.key")
	for mode, want := range map[os.FileMode]bool{0o600: false, 0o640: false, 0o604: true, 0o644: true} {
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		var said []string
		warn := func(s string, _ ...any) { said = append(said, s) }
		err := CheckFiles(warn, false, flagSet(t, map[string]FileKind{"gossip-key-file": Secret, "ca": Certificate, "key": Secret}, "--gossip-key-file", path, "--ca", path))
		if err != nil || (len(said) == 1) != want || want && !strings.Contains(said[0], "--gossip-key-file "+path+", a secret: chmod 600 "+path) {
			t.Errorf("of mode %o it says %q, %v", mode, said, err)
		}
	}
}

func TestWhatEverybodyCanWriteIsToldOfAndRefusedIfStrict(t *testing.T) {
	dir := t.TempDir()
	policy, folder, shared := filepath.Join(dir, "policy"), filepath.Join(dir, "data"), filepath.Join(dir, "tmp")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(errors.Join(os.WriteFile(policy, nil, 0o600), os.Mkdir(folder, 0o700), os.Mkdir(shared, 0o700), os.Chmod(shared, 0o777|os.ModeSticky)))
	files := flagSet(t, map[string]FileKind{"xds-policy": Plain}, "--xds-policy", policy, "--data-dir", folder)
	in := flagSet(t, nil, "--data-dir", shared)
	said := 0
	warn := func(string, ...any) { said++ }
	must(CheckFiles(warn, true, files))
	must(CheckFiles(warn, true, in))
	must(errors.Join(os.Chmod(policy, 0o602), os.Chmod(folder, 0o777)))
	must(CheckFiles(warn, false, files))
	if said != 2 {
		t.Errorf("%d files are warned of, want 2", said)
	}
	err := CheckFiles(warn, true, files)
	var usage UsageError
	if !errors.As(err, &usage) || !strings.Contains(err.Error(), "--xds-policy "+policy+": chmod o-w "+policy) || !strings.Contains(err.Error(), folder) || said != 2 {
		t.Errorf("strict: %v", err)
	}
}

// Who can write to a folder can put another file in the place of one in it.
func TestAFolderThatEverybodyCanWriteIsToldOf(t *testing.T) {
	dir := t.TempDir()
	key, pub := filepath.Join(dir, "gossip.key"), filepath.Join(dir, "eds.pub")
	for _, path := range []string{key, pub} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files := flagSet(t, map[string]FileKind{"gossip-key-file": Secret, "eds-pub": Plain}, "--gossip-key-file", key, "--eds-pub", pub)
	for mode, open := range map[os.FileMode]bool{0o700: false, 0o755: false, 0o777: true, 0o777 | os.ModeSticky: false} {
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		said := 0
		if err := CheckFiles(func(string, ...any) { said++ }, false, files); err != nil || said == 1 != open {
			t.Errorf("mode %s: %d warnings, %v", mode, said, err)
		}
		if err := CheckFiles(nil, true, files); (err != nil) != open || open && !strings.Contains(err.Error(), "chmod o-w "+dir) {
			t.Errorf("mode %s, strict: %v", mode, err)
		}
	}
}
