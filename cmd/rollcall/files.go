package main

import (
	"fmt"
	"os"
)

// file is one that a flag names.
type file struct {
	flag, path string
	secret     bool // nobody else is to read it
}

// checkFiles finds files that are not there, and warns of secrets that every user of
// this machine can read or write.
func checkFiles(warn func(said string, _ ...any), files ...file) error {
	for _, f := range files {
		if f.path == "" {
			continue
		}
		info, err := os.Stat(f.path)
		if err != nil {
			return usageError{fmt.Errorf("%s: %w", f.flag, err)}
		}
		if f.secret && info.Mode().IsRegular() && info.Mode().Perm()&0o006 != 0 {
			warn(fmt.Sprintf("every user of this machine has access to %s %s, a secret: chmod 600 %[2]s", f.flag, f.path))
		}
	}
	return nil
}
