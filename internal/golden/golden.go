// Package golden compares what tests make with files. Run a test with -update to write
// the files instead.
package golden

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

// Holds fails t, with the lines that differ, unless got is what the file has. A relative
// path is that of the package under test.
func Holds(t testing.TB, path, got string) {
	t.Helper()
	if *update {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o750), os.WriteFile(path, []byte(got), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs: if that is intended, run go test with -update in this folder\n%s", path, diff(string(want), got))
	}
}

// diff has the lines that only one of both has.
func diff(want, got string) string {
	var b strings.Builder
	wanted, have := strings.Split(want, "\n"), strings.Split(got, "\n")
	for _, line := range wanted {
		if !slices.Contains(have, line) {
			b.WriteString("- " + line + "\n")
		}
	}
	for _, line := range have {
		if !slices.Contains(wanted, line) {
			b.WriteString("+ " + line + "\n")
		}
	}
	return b.String()
}
