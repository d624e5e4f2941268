// Command rollcall is the one binary of rollcall: the EDS server, the sample
// upstream, the runner for other programs, Envoy's bootstrap and runner, and the
// demo, one verb each. A verb's file turns flags into Options and calls Run;
// everything else is in the packages.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/rollcall-fleet/rollcall/internal/child"
)

// The exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
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
	root.SetErr(stderr)
	err := unknownVerb(root, os.Args[1:])
	if err == nil {
		err = root.ExecuteContext(ctx)
	}
	if err == nil {
		return 0
	}
	if exit, ok := errors.AsType[exitError](err); !ok || exit.why != nil {
		fmt.Fprintln(stderr, "rollcall:", err)
	}
	return exitCode(err)
}

// usageError is a mistake on the command line or in the environment.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// exitError passes on the exit code of a program that was run, and why there is one
// when the program did not say so itself.
type exitError struct {
	code int
	why  error // nil: the log has it
}

func (e exitError) Error() string {
	if e.why != nil {
		return e.why.Error()
	}
	return fmt.Sprintf("the program ended with code %d", e.code)
}

func (e exitError) Unwrap() error { return e.why }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "rollcall",
		Short: "A self-registering upstream fleet for Envoy",
		Long: `Upstream servers join a gossip pool and say what they serve; EDS servers in the
same pool add them to every Envoy and take them out again.

Every flag can be given in the environment: --data-dir as ROLLCALL_DATA_DIR. A
flag on the command line wins over the environment, and an empty variable counts as
not given.`,
		Example: `  rollcall eds
  rollcall upstream -p 8081
  rollcall envoy run
  curl localhost:10000/`,
		SilenceUsage: true, SilenceErrors: true,
		PersistentPreRunE: prepare,
		Args:              noArgs,
		RunE:              help,
	}
	root.SetFlagErrorFunc(flagError)
	root.Version = versionLine()
	root.SetVersionTemplate("{{.Version}}\n")
	root.AddCommand(newEDS(), newUpstream(), newRun(), newRegister(), newEnvoy(), newKeygen(), newKeys(), newCerts(), newSecurity(), newDemo(), newVersion())
	root.AddCommand(newServices(), newHosts(), newDrain(), newExclude(), newForce(), newUndrain(), newWeight(), newUndo(), newPin(), newUnpin(),
		newOverrides(), newAudit(), newGuards(), newClients(), newMembers(), newWatch())
	strictCompletion(root)
	return root
}

// help is what a command that only holds others does. It is a RunE, because cobra
// looks at the arguments, and so finds a verb that is none, only where there is one.
func help(c *cobra.Command, _ []string) error { return c.Help() }
