package rollcall_test

import (
	"errors"
	"flag"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files in place of holding the code against them")

// Names that users' scripts, dashboards, files on disk and other versions of rollcall
// depend on. A change of one of them is a choice, and CHANGELOG.md has it.
func TestNamesThatOthersDependOnStayAsTheyAre(t *testing.T) {
	for golden, re := range map[string]*regexp.Regexp{
		"metrics.golden":   regexp.MustCompile(`"(rollcall_[a-z_]+)"`),
		"json-keys.golden": regexp.MustCompile("json:\"([a-z0-9_]+)[\",]"),
		"headers.golden":   regexp.MustCompile(`"(X-Rollcall-[A-Za-z-]+)"`),
		"variables.golden": regexp.MustCompile(`"(ROLLCALL_[A-Z_]+)`),
	} {
		holds(t, golden, strings.Join(inSources(t, re), "\n")+"\n")
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

// holds compares got with a golden file.
func holds(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(got), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := lines(string(want), got); diff != "" {
		t.Errorf("%s differs; if that is meant, run go test . -update and say so in CHANGELOG.md:\n%s", path, diff)
	}
}

// lines are those that only one of both has.
func lines(want, got string) string {
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
