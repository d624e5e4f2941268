// Command rollcall is the one binary of rollcall. Each file here turns the flags of one
// command into Options and calls Run; the commands that ask an EDS server are in operator,
// and what all commands share is in cli. Everything else is in the packages.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/rollcall-fleet/rollcall/cmd/rollcall/cli"
	"github.com/rollcall-fleet/rollcall/cmd/rollcall/operator"
	"github.com/rollcall-fleet/rollcall/internal/child"
)

func main() { os.Exit(execute()) }

// execute ends its context at the first SIGINT or SIGTERM; a second one kills.
func execute() int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop)
	if os.Getpid() == 1 {
		defer child.Reap()()
	}
	root := newRoot()
	root.SetErr(cli.Stderr)
	err := cli.UnknownSubcommand(root, os.Args[1:])
	if err == nil {
		err = root.ExecuteContext(ctx)
	}
	if err == nil {
		return 0
	}
	if exit, ok := errors.AsType[cli.ExitError](err); !ok || exit.Why != nil {
		fmt.Fprintln(cli.Stderr, "rollcall:", err)
	}
	return cli.ExitCode(err)
}

func newRoot() *cobra.Command {
	root := cli.Root()
	root.Version = versionLine()
	root.SetVersionTemplate("{{.Version}}\n")
	cli.Add(root, cli.GroupRun, newEDS(), newUpstream(), newRun(), newRegister(), newEnvoy(), newDemo())
	cli.Add(root, cli.GroupOperate, operator.Commands()...)
	cli.Add(root, cli.GroupSetUp, newKeygen(), newCerts(), newSecurity(), newVersion())
	root.SetHelpCommandGroupID(cli.GroupSetUp)
	root.SetCompletionCommandGroupID(cli.GroupSetUp)
	cli.StrictCompletion(root)
	return root
}
