package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// takes says what flags of pflag's own types take, whose errors are Go's. Flags of
// other types say so themselves.
var takes = map[string]string{
	"":               "debug, info, warn or error", // of a TextVar, which --log-level alone is
	"bool":           "true or false",
	"duration":       "a duration, such as 500ms or 10s",
	"float64":        "a number, such as 0.5",
	"int":            "a whole number, such as 10",
	"stringToString": "key=value, such as version=2",
	"uint16":         "a port from 0 to 65535, such as 8081",
	"uint32":         "a whole number, such as 50",
}

// FlagError makes an error of the command line one that says what the flag takes.
func FlagError(c *cobra.Command, err error) error {
	return Usage(fmt.Errorf("%w (see %s --help)", valueError("", err), c.CommandPath()))
}

// valueError makes an error of a flag's value, or of the variable that stands for
// the flag, one without Go's words.
func valueError(variable string, err error) error {
	invalid, ok := errors.AsType[*pflag.InvalidValueError](err)
	if !ok {
		return err
	}
	name := "--" + invalid.GetFlag().Name
	if variable != "" {
		name = variable
	}
	want, ok := takes[invalid.GetFlag().Value.Type()]
	if c, words := invalid.GetFlag().Value.(choice); words {
		want, ok = "one of "+strings.Join(c.of, ", "), true
	}
	if ok {
		return fmt.Errorf("%s is %q, give %s", name, invalid.GetValue(), want)
	}
	return fmt.Errorf("%s: %w", name, errors.Unwrap(invalid))
}

var completionExamples = map[string]string{
	"bash":       "  source <(rollcall completion bash)",
	"zsh":        "  source <(rollcall completion zsh)",
	"fish":       "  rollcall completion fish | source",
	"powershell": "  rollcall completion powershell | Out-String | Invoke-Expression",
}

// StrictCompletion refuses shells that there is no completion for, which cobra
// answers with its help.
func StrictCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		if c.Name() == "completion" {
			c.Args, c.RunE, c.Example = NoArgs, Help, "  source <(rollcall completion bash)"
			for _, shell := range c.Commands() {
				shell.Example = completionExamples[shell.Name()]
			}
		}
	}
}
