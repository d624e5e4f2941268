package envoy

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// fetch runs the fetch script with nothing on its PATH but the programs named.
func fetch(t *testing.T, cache string, programs map[string]string) (string, error) {
	t.Helper()
	bin := t.TempDir()
	for name, real := range programs {
		path, err := exec.LookPath(real)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "../scripts/fetch-envoy.sh")
	cmd.Env = []string{"PATH=" + bin, "ROLLCALL_CACHE=" + cache}
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestFetchDoesNothingWhenTheCacheIsFilled(t *testing.T) {
	_, _, _, cached := places(t)
	cache := os.Getenv("ROLLCALL_CACHE")
	t.Setenv("PATH", "/usr/bin:/bin")
	if out, err := fetch(t, cache, map[string]string{"dirname": "dirname"}); err != nil || out != "" {
		t.Errorf("%v: %s", err, out)
	}
	if b, err := os.ReadFile(cached); err != nil || len(b) > 0 {
		t.Errorf("the cached file was touched: %d bytes, %v", len(b), err)
	}
}

func TestFetchSaysWhatIsMissing(t *testing.T) {
	tests := []struct {
		name, cache string
		programs    map[string]string
		want        string
	}{
		{"relative cache", "cache", nil, "is not an absolute path"},
		{"no Linux", t.TempDir(), map[string]string{"uname": "echo"}, "for Linux only"},
		{"no python", t.TempDir(), map[string]string{"uname": "uname"}, "python3 is missing"},
		{"no pip", t.TempDir(), map[string]string{"uname": "uname", "python3": "false"}, "pip is missing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			programs := map[string]string{"dirname": "dirname"}
			maps.Copy(programs, tt.programs)
			out, err := fetch(t, tt.cache, programs)
			if err == nil || !strings.Contains(out, tt.want) {
				t.Errorf("%v: %s, want %q", err, out, tt.want)
			}
		})
	}
}
