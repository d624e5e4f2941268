package upstream_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// may lists the modules whose code ends up in a program that registers itself:
// this one, memberlist, and what memberlist needs.
var may = []string{
	"github.com/rollcall-fleet/rollcall",
	"github.com/google/uuid",
	"github.com/hashicorp/memberlist",

	"github.com/google/btree",
	"github.com/hashicorp/errwrap",
	"github.com/hashicorp/go-immutable-radix",
	"github.com/hashicorp/go-metrics",
	"github.com/hashicorp/go-msgpack/v2",
	"github.com/hashicorp/go-multierror",
	"github.com/hashicorp/go-sockaddr",
	"github.com/hashicorp/golang-lru",
	"github.com/miekg/dns",
	"github.com/sean-/seed",
	"golang.org/x/net",
	"golang.org/x/sync",
	"golang.org/x/sys",
}

// mayOwn lists this module's packages among them.
var mayOwn = []string{"fleet", "gossip", "gossip/internal/link", "gossip/internal/message", "internal/budget", "internal/panics", "internal/hello", "internal/latest", "internal/option", "internal/reload", "internal/text", "upstream"}

func TestRegisteringPullsInMemberlistAndLittleElse(t *testing.T) {
	t.Parallel()
	const format = `{{with .Module}}{{.Path}} {{end}}{{.ImportPath}}`
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", format, ".", "../internal/hello").Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	for line := range strings.Lines(string(out)) {
		module, pkg, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			continue // of the standard library
		}
		own, isOwn := strings.CutPrefix(pkg, may[0]+"/")
		if !slices.Contains(may, module) || isOwn && !slices.Contains(mayOwn, own) {
			t.Errorf("upstream depends on %s", pkg)
		}
	}
}
