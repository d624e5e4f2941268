package main

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/pflag"
)

// logFlags choose how a verb logs. Logs go to standard error.
type logFlags struct {
	level  slog.Level
	format string
}

func (l *logFlags) add(fs *pflag.FlagSet) {
	fs.TextVar(&l.level, "log-level", slog.LevelInfo, "least level logged: debug, info, warn or error")
	fs.StringVar(&l.format, "log-format", "text", "text or json")
}

func (l *logFlags) logger() (*slog.Logger, error) {
	opts := &slog.HandlerOptions{Level: l.level}
	switch l.format {
	case "text":
		return slog.New(slog.NewTextHandler(os.Stderr, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(os.Stderr, opts)), nil
	default:
		return nil, usageError{fmt.Errorf("--log-format %q is neither text nor json", l.format)}
	}
}
