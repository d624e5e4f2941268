package golden

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// recorder notes what a test is told.
type recorder struct {
	testing.TB
	said string
}

func (r *recorder) Helper() {}
func (r *recorder) Errorf(format string, args ...any) {
	r.said = fmt.Sprintf(format, args...)
}

func TestWhatDiffersFromTheFileIsShown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("a\nb\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for got, want := range map[string]string{
		"a\nb\n": "",
		"a\nc\n": path + " differs: if that is intended, run go test with -update in this folder\n- b\n+ c\n",
		"b\na\n": path + " differs: if that is intended, run go test with -update in this folder\n",
	} {
		r := &recorder{TB: t}
		if Holds(r, path, got); r.said != want {
			t.Errorf("%q: it says %q, want %q", got, r.said, want)
		}
	}
}
