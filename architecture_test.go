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

func TestRoomsImportOnlyWhatTheyMay(t *testing.T) {
	const (
		memberlist   = "github.com/hashicorp/memberlist"
		controlPlane = "github.com/envoyproxy/"
		own          = module + "/"
	)
	rooms := packages(t)
	for room, forbidden := range map[string][]string{
		"gossip":             {controlPlane, own + "eds", own + "envoy"},
		"gossip/model":       {controlPlane, own},
		"upstream":           {controlPlane, own + "eds", own + "envoy", "google.golang.org/grpc"},
		"upstream/hello":     {controlPlane, own + "eds", own + "envoy", "google.golang.org/grpc"},
		"eds/pace":           {memberlist, controlPlane, own},
		"eds/heap":           {memberlist, controlPlane, own},
		"eds/registry":       {memberlist, controlPlane, "net/http"},
		"eds/override":       {memberlist, controlPlane},
		"eds/override/share": {memberlist, controlPlane, own + "gossip"},
		"eds/probe":          {memberlist, controlPlane},
		"eds/xds":            {memberlist, own + "gossip", own + "eds/api"},
		"eds/events":         {memberlist, own + "gossip", own + "eds/api", "net/http"},
		"eds/api":            {memberlist, own + "gossip"},
		"envoy":              {memberlist, own + "eds", own + "gossip"},
		"client":             {memberlist, controlPlane, own + "eds", own + "gossip", own + "envoy", own + "upstream"},
		"client/show":        {memberlist, controlPlane, own + "eds", own + "gossip", own + "envoy", own + "upstream"},
		"eds/auth":           {memberlist, controlPlane},
		"eds/middleware":     {memberlist, controlPlane},
		"certs":              {memberlist, controlPlane, own + "eds", own + "gossip"},
		"exposure":           {memberlist, controlPlane, own + "eds", own + "gossip"},
		"eds/descriptors":    {memberlist, controlPlane, own, "net/http"},
		"eds/database":       {memberlist, controlPlane, own + "gossip", "net/http"},
		"internal/panics":    {memberlist, controlPlane, own},
		"eds/admit":          {memberlist, controlPlane, own + "gossip", "net/http"},
		"eds/vouch":          {memberlist, controlPlane, own + "gossip"},
		"keyfile":            {memberlist, controlPlane, own + "gossip", own + "eds"},
		"internal/child":     {memberlist, controlPlane, own},
	} {
		p, ok := rooms[room]
		if !ok {
			t.Errorf("there is no room %s", room)
			continue
		}
		for _, f := range forbidden {
			deps := p.Deps
			if !strings.Contains(f, ".") {
				deps = p.Imports // of the standard library, what the room itself does counts
			}
			for _, dep := range deps {
				if strings.HasPrefix(dep, f) {
					t.Errorf("%s depends on %s", room, dep)
				}
			}
		}
	}
	for room, allowed := range map[string][]string{"fleet": {"github.com/google/uuid"}, "client": {"github.com/google/uuid", own + "fleet"}} {
		for _, dep := range rooms[room].Deps {
			// A module's path begins with a host name, a package of the standard library's does not.
			if host, _, _ := strings.Cut(dep, "/"); strings.Contains(host, ".") && !slices.Contains(allowed, dep) {
				t.Errorf("%s depends on %s", room, dep)
			}
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
