package cli

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// Service marks a command that runs until it is stopped, whether or not anyone
// reads its log.
var Service = map[string]string{"service": "yes"}

// prepare is what all commands do first.
func prepare(c *cobra.Command, _ []string) error {
	if c.Annotations["service"] != "" {
		outliveLogReader()
	}
	return FromEnvironment(c)
}

// outliveLogReader makes a write to a closed pipe an error, which slog ignores; by
// default SIGPIPE would end the process. It is caught and not ignored, because the
// programs that run and envoy run start inherit an ignored signal.
func outliveLogReader() {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
}
