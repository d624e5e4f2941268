package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rollcall-fleet/rollcall/cmd/rollcall/cli"
	"github.com/rollcall-fleet/rollcall/internal/golden"
)

// Scripts depend on commands, flags, their defaults and the exit codes: a change of one of
// them is a choice, and CHANGELOG.md has it.
func TestCommandsAndFlagsStayAsTheyAre(t *testing.T) {
	t.Setenv("USER", "ann")
	t.Setenv("HOME", "/home/ann")
	t.Setenv("XDG_STATE_HOME", "")
	var b strings.Builder
	describe(&b, newRoot())
	fmt.Fprintf(&b, "exit codes: failed %d, usage %d, not found %d, conflict %d\n", cli.ExitFailed, cli.ExitUsage, cli.ExitNotFound, cli.ExitConflict)
	golden.Holds(t, "testdata/flags.golden", b.String())
}

// describe writes c, and all commands below it, with their flags.
func describe(b *strings.Builder, c *cobra.Command) {
	fmt.Fprintln(b, c.CommandPath(), strings.Join(c.Aliases, " "))
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		fmt.Fprintf(b, "\t--%s %s %s %q hidden=%t %s\n", f.Name, f.Shorthand, f.Value.Type(), f.DefValue, f.Hidden, f.Deprecated)
	})
	for _, sub := range c.Commands() {
		if sub.Name() != "help" && sub.Name() != "completion" {
			describe(b, sub)
		}
	}
}
