package rollcall_test

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rollcall-fleet/rollcall/internal/golden"
)

// Names that users' scripts, dashboards, files on disk and other versions of rollcall
// depend on. A change of one of them is a choice, and CHANGELOG.md has it.
func TestNamesThatOthersDependOnStayAsTheyAre(t *testing.T) {
	for file, re := range map[string]*regexp.Regexp{
		"metrics.golden":   regexp.MustCompile(`"(rollcall_[a-z_]+)"`),
		"json-keys.golden": regexp.MustCompile("json:\"([a-z0-9_]+)[\",]"),
		"headers.golden":   regexp.MustCompile(`"(X-Rollcall-[A-Za-z-]+)"`),
		"variables.golden": regexp.MustCompile(`"(ROLLCALL_[A-Z_]+)`),
	} {
		golden.Holds(t, "testdata/"+file, strings.Join(inSources(t, re), "\n")+"\n")
	}
}

// inSources are what re's group matches in the code, sorted, each once.
func inSources(t *testing.T, re *regexp.Regexp) []string {
	t.Helper()
	found := make(map[string]bool)
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (path == "e2e" || path == "findings" || path == ".git"):
			return filepath.SkipDir
		case !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go"):
			return nil
		}
		b, err := os.ReadFile(path)
		for _, match := range re.FindAllSubmatch(b, -1) {
			found[string(match[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return slices.Sorted(maps.Keys(found))
}
