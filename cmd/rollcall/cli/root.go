// Package cli is what all commands share: the root command, flags and their environment
// variables, exit codes, usage errors, files that flags name, and logging.
package cli

import (
	"github.com/spf13/cobra"
)

// The groups of commands in the help of the root.
const (
	GroupRun     = "run"
	GroupOperate = "operate"
	GroupSetUp   = "set-up"
)

// Root returns the command rollcall, without the commands below it.
func Root() *cobra.Command {
	root := &cobra.Command{
		Use:   "rollcall",
		Short: "A self-registering upstream fleet for Envoy",
		Long: `Upstream servers join a gossip pool and publish what they serve; EDS servers in the
same pool add them to every Envoy and remove them again.

Every flag can be given in the environment: --data-dir as ROLLCALL_DATA_DIR. A
flag on the command line wins over the environment, and an empty variable counts as
not given.`,
		Example: `  rollcall eds
  rollcall upstream -p 8081
  rollcall envoy run
  curl localhost:10000/`,
		SilenceUsage: true, SilenceErrors: true,
		PersistentPreRunE: prepare,
		Args:              NoArgs,
		RunE:              Help,
	}
	root.AddGroup(&cobra.Group{ID: GroupRun, Title: "Run:"}, &cobra.Group{ID: GroupOperate, Title: "Operate (ask an EDS server):"}, &cobra.Group{ID: GroupSetUp, Title: "Set up:"})
	root.SetFlagErrorFunc(FlagError)
	return root
}

// Add adds a group of commands to the root.
func Add(root *cobra.Command, group string, commands ...*cobra.Command) {
	for _, c := range commands {
		c.GroupID = group
	}
	root.AddCommand(commands...)
}
