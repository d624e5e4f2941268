package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/pflag"
)

// file is one that a flag names.
type file struct {
	flag, path string
	secret     bool // nobody else is to read it
}

// strictFlag is on every verb that serves.
func strictFlag(flags *pflag.FlagSet, strict *bool) {
	flags.BoolVar(strict, "strict-files", false, "refuse to start with files that every user of this machine can write, and secrets that all can read")
}

// checkFiles finds files that are not there, and warns of those that every user of this
// machine can write, or read where they are secrets. If strict, it refuses them.
func checkFiles(warn func(said string, _ ...any), strict bool, files ...file) error {
	var open []error
	for _, f := range files {
		if f.path == "" {
			continue
		}
		info, err := os.Stat(f.path)
		if err != nil {
			return usageError{fmt.Errorf("%s: %w", f.flag, err)}
		}
		said := exposed(f, info.Mode())
		switch {
		case said == "":
		case strict:
			open = append(open, errors.New(said))
		default:
			warn(said)
		}
	}
	if len(open) > 0 {
		return usageError{errors.Join(open...)}
	}
	return nil
}

// exposed says what is wrong with the mode of a file; "": nothing. What others may write in
// a folder with the sticky bit is their own.
func exposed(f file, mode fs.FileMode) string {
	switch perm := mode.Perm(); {
	case f.secret && mode.IsRegular() && perm&0o006 != 0:
		return fmt.Sprintf("every user of this machine has access to %s %s, a secret: chmod 600 %[2]s", f.flag, f.path)
	case perm&0o002 != 0 && mode&fs.ModeSticky == 0 && (mode.IsRegular() || mode.IsDir()):
		return fmt.Sprintf("every user of this machine can write to %s %s: chmod o-w %[2]s", f.flag, f.path)
	}
	return ""
}
