package rollcall_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/printer"
	"go/token"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/rollcall-fleet/rollcall/internal/golden"
)

// The packages that other modules may import; everything else is internal.
var public = []string{"client", "eds", "eds/edstest", "envoy", "fleet", "gossip", "upstream"}

// A new export is a choice: it is in the golden file of its package, or the test fails.
func TestPublicAPIIsTheOneInTheGoldenFiles(t *testing.T) {
	for _, folder := range public {
		golden.Holds(t, "testdata/api/"+strings.ReplaceAll(folder, "/", "-")+".golden", exported(t, folder))
	}
}

func TestNoOtherPackageCanBeImportedFromOutside(t *testing.T) {
	for room, p := range packages(t) {
		internal := strings.HasPrefix(room, "internal/") || strings.Contains(room, "/internal/")
		if len(p.GoFiles) > 0 && !internal && !slices.Contains(public, room) && !strings.HasPrefix(room, "cmd/") && !strings.HasPrefix(room, "e2e") {
			t.Errorf("%s is public: move it under internal, or have it in the list of public packages", room)
		}
	}
}

// exported has the exported declarations of a package, without comments, sorted.
func exported(t *testing.T, folder string) string {
	t.Helper()
	fset := token.NewFileSet()
	//lint:ignore SA1019 the packages need no types here
	parsed, err := parser.ParseDir(fset, folder, func(f fs.FileInfo) bool { return !strings.HasSuffix(f.Name(), "_test.go") }, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, p := range parsed {
		for _, f := range p.Files {
			ast.FileExports(f)
			for _, d := range f.Decls {
				found = append(found, declared(t, fset, d)...)
			}
		}
	}
	slices.Sort(found)
	return strings.Join(found, "")
}

// declared prints a declaration, and each constant, variable or type of a group by itself.
func declared(t *testing.T, fset *token.FileSet, d ast.Decl) (found []string) {
	t.Helper()
	if f, ok := d.(*ast.FuncDecl); ok {
		if f.Recv != nil && !ofExported(f.Recv.List[0].Type) {
			return nil
		}
		return []string{printed(t, fset, &ast.FuncDecl{Recv: f.Recv, Name: f.Name, Type: f.Type})}
	}
	g := d.(*ast.GenDecl)
	if g.Tok == token.IMPORT {
		return nil
	}
	for _, spec := range g.Specs {
		found = append(found, printed(t, fset, &ast.GenDecl{Tok: g.Tok, Specs: []ast.Spec{spec}}))
	}
	return found
}

// ofExported reports whether a method's receiver has a type that is exported.
func ofExported(receiver ast.Expr) bool {
	switch r := receiver.(type) {
	case *ast.StarExpr:
		return ofExported(r.X)
	case *ast.IndexExpr:
		return ofExported(r.X)
	case *ast.Ident:
		return r.IsExported()
	}
	return false
}

func printed(t *testing.T, fset *token.FileSet, node ast.Node) string {
	t.Helper()
	ast.Inspect(node, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Field:
			n.Doc, n.Comment = nil, nil
		case *ast.ValueSpec:
			n.Doc, n.Comment = nil, nil
		case *ast.TypeSpec:
			n.Doc, n.Comment = nil, nil
		}
		return true
	})
	var b bytes.Buffer
	if err := (&printer.Config{Mode: printer.TabIndent, Tabwidth: 8}).Fprint(&b, fset, node); err != nil {
		t.Fatal(err)
	}
	// Blank lines stand where comments were.
	var kept []string
	for line := range strings.Lines(b.String()) {
		if strings.TrimSpace(line) != "" {
			kept = append(kept, strings.TrimRight(line, "\n"))
		}
	}
	return strings.Join(kept, "\n") + "\n"
}
