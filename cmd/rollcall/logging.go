package main

import (
	"log/slog"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// logFlags choose how a verb logs. Logs go to standard error.
type logFlags struct {
	level  slog.Level
	format string
}

func (l *logFlags) add(fs *pflag.FlagSet) {
	fs.TextVar(&l.level, "log-level", slog.LevelInfo, "least level logged: debug, info, warn or error")
	choiceVar(fs, &l.format, "log-format", "text", "text or json", "text", "json")
}

func (l *logFlags) logger() *slog.Logger {
	opts := &slog.HandlerOptions{Level: l.level}
	if l.format == "json" {
		return slog.New(slog.NewJSONHandler(stderr, opts))
	}
	return slog.New(slog.NewTextHandler(stderr, opts))
}

// loggerOf is the logger that c's flags choose, before c runs.
func loggerOf(c *cobra.Command) *slog.Logger {
	var l logFlags
	if f := c.Flags().Lookup("log-level"); f != nil {
		_ = l.level.UnmarshalText([]byte(f.Value.String())) // Envoy's own levels are other words
	}
	if f := c.Flags().Lookup("log-format"); f != nil {
		l.format = f.Value.String()
	}
	return l.logger()
}
