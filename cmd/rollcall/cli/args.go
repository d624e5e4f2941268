package cli

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// NArgs is a usage error unless there are least to most arguments; a negative most
// is no bound.
func NArgs(least, most int) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) < least || (most >= 0 && len(args) > most) {
			return Usage(fmt.Errorf("give %s (see %s --help)", strings.TrimSuffix(c.UseLine(), " [flags]"), c.CommandPath()))
		}
		return nil
	}
}

// Help is what a command that only holds others does. It is a RunE, because cobra
// looks at the arguments, and so finds a verb that is none, only where there is one.
func Help(c *cobra.Command, _ []string) error { return c.Help() }

// UnknownSubcommand finds a verb that is none in a command line that asks for its help: cobra
// would answer with the help of what stands before it.
func UnknownSubcommand(root *cobra.Command, args []string) error {
	root.InitDefaultHelpCmd()
	c, rest, err := root.Find(args)
	if err != nil || !c.HasSubCommands() || len(rest) == 0 || strings.HasPrefix(rest[0], "-") || strings.HasPrefix(rest[0], "__") {
		return nil
	}
	if slices.Contains(rest, "--help") || slices.Contains(rest, "-h") {
		return UnknownCommand(c, rest[0])
	}
	return nil
}

// UnknownCommand is a usage error that names the verbs which are written alike.
func UnknownCommand(c *cobra.Command, name string) error {
	err := fmt.Errorf("unknown command %q for %q", name, c.CommandPath())
	c.SuggestionsMinimumDistance = 2
	if near := c.SuggestionsFor(name); len(near) > 0 {
		err = fmt.Errorf("%w, is it %s?", err, Quoted(near, " or "))
	}
	return Usage(err)
}

// Quoted lists names in quotes.
func Quoted(names []string, between string) string {
	var Quoted []string
	for _, n := range names {
		Quoted = append(Quoted, strconv.Quote(n))
	}
	return strings.Join(Quoted, between)
}

// NoArgs refuses what follows a command, which may be a verb that is none.
func NoArgs(c *cobra.Command, args []string) error {
	if len(args) > 0 {
		return UnknownCommand(c, args[0])
	}
	return nil
}
