package cli

import (
	"log/slog"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// LogFlags choose how a verb logs. Logs go to standard error.
type LogFlags struct {
	level  slog.Level
	format string
}

// Add adds --log-level and --log-format.
func (l *LogFlags) Add(fs *pflag.FlagSet) {
	fs.TextVar(&l.level, "log-level", slog.LevelInfo, "least level logged: debug, info, warn or error")
	ChoiceVar(fs, &l.format, "log-format", "text", "text or json", "text", "json")
}

// Logger returns the logger that the flags choose.
func (l *LogFlags) Logger() *slog.Logger {
	opts := &slog.HandlerOptions{Level: l.level}
	if l.format == "json" {
		return slog.New(slog.NewJSONHandler(Stderr, opts))
	}
	return slog.New(slog.NewTextHandler(Stderr, opts))
}

// loggerOf is the logger that c's flags choose, before c runs.
func loggerOf(c *cobra.Command) *slog.Logger {
	var l LogFlags
	if f := c.Flags().Lookup("log-level"); f != nil {
		_ = l.level.UnmarshalText([]byte(f.Value.String())) // Envoy's own levels are other words
	}
	if f := c.Flags().Lookup("log-format"); f != nil {
		l.format = f.Value.String()
	}
	return l.Logger()
}
