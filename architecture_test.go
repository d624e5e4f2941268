// Package rollcall_test holds the rules of the house that a compiler does not:
// which room may import what, and how large a file may be.
package rollcall_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/rollcall-fleet/rollcall"

type pkg struct {
	ImportPath string
	Dir        string
	Doc        string
	GoFiles    []string
	Imports    []string
	Deps       []string // transitive
}

func packages(t *testing.T) map[string]pkg {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Dir,Doc,GoFiles,Imports,Deps", "./...").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	found := make(map[string]pkg)
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return found
		} else if err != nil {
			t.Fatal(err)
		}
		found[strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")] = p
	}
}

// rule is what a room must not depend on: prefixes of import paths, or whatever is not
// allowed.
type rule struct {
	forbidden []string
	allowed   []string // nil: all that is not forbidden
}

// terms are the words of the table's last column that are no package of the standard
// library and no room.
var terms = map[string]string{
	"memberlist":       "github.com/hashicorp/memberlist",
	"go-control-plane": "github.com/envoyproxy/",
	"grpc":             "google.golang.org/grpc",
	"uuid":             "github.com/google/uuid",
	"any other room":   module + "/",
}

// rules reads the table of rooms in docs/architecture.md: one row for each package, the
// first column has its folders.
func rules(t *testing.T) map[string]rule {
	t.Helper()
	b, err := os.ReadFile("docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]rule)
	for line := range strings.Lines(string(b)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 3 || !strings.HasPrefix(line, "| `") {
			continue
		}
		for room := range strings.SplitSeq(cells[0], ",") {
			found[strings.Trim(strings.TrimSpace(room), "`")] = parseRule(strings.TrimSpace(cells[2]))
		}
	}
	return found
}

func parseRule(cell string) (r rule) {
	cell, only := strings.CutPrefix(cell, "anything but ")
	if only {
		r.allowed = []string{}
	}
	for word := range strings.SplitSeq(strings.ReplaceAll(cell, " and ", ", "), ", ") {
		path, ok := terms[word]
		switch {
		case word == "" || word == "the standard library":
			continue
		case !ok && strings.Contains(word, "net/"):
			path = word
		case !ok:
			path = module + "/" + word
		}
		if only {
			r.allowed = append(r.allowed, path)
		} else {
			r.forbidden = append(r.forbidden, path)
		}
	}
	return r
}

func TestPackagesImportOnlyWhatTheArchitectureAllows(t *testing.T) {
	rooms, rules := packages(t), rules(t)
	for room, p := range rooms {
		r, ok := rules[room]
		if !ok && len(p.GoFiles) > 0 {
			t.Errorf("docs/architecture.md has no row for %s", room)
		}
		for _, dep := range p.Deps {
			// A module's path begins with a host name, a package of the standard library's does not.
			host, _, _ := strings.Cut(dep, "/")
			if r.allowed != nil && strings.Contains(host, ".") && !slices.Contains(r.allowed, dep) {
				t.Errorf("%s depends on %s", room, dep)
			}
		}
		for _, f := range r.forbidden {
			deps := p.Deps
			if !strings.Contains(f, ".") {
				deps = p.Imports // of the standard library, what the package itself imports counts
			}
			for _, dep := range deps {
				if dep == f || strings.HasPrefix(dep, strings.TrimSuffix(f, "/")+"/") {
					t.Errorf("%s depends on %s", room, dep)
					break // the rest of a module says no more
				}
			}
		}
	}
	for room := range rules {
		if _, ok := rooms[room]; !ok {
			t.Errorf("docs/architecture.md has a row for %s, which does not exist", room)
		}
	}
}

func TestEveryPackageSaysWhatItIsFor(t *testing.T) {
	for room, p := range packages(t) {
		if len(p.GoFiles) > 0 && p.Doc == "" {
			t.Errorf("%s has no package comment", room)
		}
		if filepath.Base(p.ImportPath) == "util" {
			t.Errorf("%s says nothing about what it is for", room)
		}
	}
}

func TestNoFileIsOver400Lines(t *testing.T) {
	err := filepath.WalkDir(".", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		b, err := os.ReadFile(path)
		if n := bytes.Count(b, []byte("\n")); n > 400 {
			t.Errorf("%s has %d lines", path, n)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// gRPC decompresses only what is linked in, so that a request costs no more memory than
// the bytes that arrive.
func TestNoDecompressorIsPartOfTheBinary(t *testing.T) {
	for _, dep := range packages(t)["cmd/rollcall"].Deps {
		if strings.HasPrefix(dep, "google.golang.org/grpc/encoding/gzip") || strings.Contains(dep, "snappy") || strings.Contains(dep, "zstd") {
			t.Errorf("the binary has %s", dep)
		}
	}
}

func TestEachDirectDependencyHasAReason(t *testing.T) {
	doc, err := os.ReadFile("docs/dependencies.md")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "go", "mod", "edit", "-json").Output()
	if err != nil {
		t.Fatalf("go mod edit: %v", err)
	}
	var mod struct {
		Require []struct {
			Path     string
			Indirect bool
		}
	}
	if err := json.Unmarshal(out, &mod); err != nil {
		t.Fatal(err)
	}
	for _, r := range mod.Require {
		if !r.Indirect && !bytes.Contains(doc, []byte("`"+r.Path+"`")) {
			t.Errorf("docs/dependencies.md does not say why %s", r.Path)
		}
	}
	for name := range bytes.Lines(doc) {
		cell, ok := bytes.CutPrefix(name, []byte("| `"))
		if path, _, _ := bytes.Cut(cell, []byte("`")); ok && !bytes.Contains(out, append([]byte(`"Path": "`), path...)) {
			t.Errorf("docs/dependencies.md has %s, which go.mod has not", path)
		}
	}
}
