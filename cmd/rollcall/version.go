package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/rollcall-fleet/rollcall/cmd/rollcall/cli"
)

// Set by the linker (make build). Where they are empty, the build information counts.
var version, commit, date string

func newVersion() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print version, commit, date and Go version of this binary",
		Example: "  rollcall version",
		Args:    cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(c.OutOrStdout(), versionLine())
			return err
		},
	}
}

func versionLine() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return buildOf(info).String()
}

// build is what a binary was built from.
type build struct{ version, commit, date string }

func (b build) String() string {
	return fmt.Sprintf("rollcall %s, commit %s of %s, %s %s/%s", b.version, b.commit, b.date, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// buildOf prefers what the linker set to the build information; what neither has is
// "unknown".
func buildOf(info *debug.BuildInfo) build {
	settings := make(map[string]string)
	for _, s := range info.Settings {
		settings[s.Key] = s.Value
	}
	v := info.Main.Version
	if v == "(devel)" { // built without version control
		v = ""
	}
	b := build{
		version: cmp.Or(version, v, "unknown"),
		commit:  cmp.Or(commit, settings["vcs.revision"], "unknown"),
		date:    cmp.Or(date, settings["vcs.time"], "unknown"),
	}
	b.commit = b.commit[:min(12, len(b.commit))]
	return b
}
