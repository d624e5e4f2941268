package upstream_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// A library is a guest in somebody else's program: signals, flags and the exit are
// not its own, and two registrations share nothing.
func TestTheLibraryLeavesTheProcessAlone(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	looked := 0
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		looked++
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, imported := range file.Imports {
			switch path, _ := strconv.Unquote(imported.Path.Value); path {
			case "os/signal", "flag", "log":
				t.Errorf("%s imports %s", name, path)
			}
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				if pkg, ok := s.X.(*ast.Ident); ok && pkg.Name == "os" && s.Sel.Name == "Exit" {
					t.Errorf("%s calls os.Exit", name)
				}
			}
			return true
		})
		for _, decl := range file.Decls {
			if d, ok := decl.(*ast.GenDecl); ok && d.Tok == token.VAR {
				onlyErrors(t, name, d)
			}
		}
	}
	if looked < 5 {
		t.Errorf("only %d files were looked at", looked)
	}
}

// onlyErrors fails the test on a package variable that is no error.
func onlyErrors(t *testing.T, file string, d *ast.GenDecl) {
	t.Helper()
	for _, spec := range d.Specs {
		for _, v := range spec.(*ast.ValueSpec).Names {
			if v.Name != "_" && !strings.HasPrefix(v.Name, "Err") && !strings.HasPrefix(v.Name, "err") {
				t.Errorf("%s has the package variable %s", file, v.Name)
			}
		}
	}
}
