package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/pflag"

	"github.com/rollcall-fleet/rollcall/internal/database"
)

// FileKind says what a file that a flag names holds.
type FileKind string

// The kinds of files.
const (
	Secret      FileKind = "secret" // no other user may read it
	Certificate FileKind = "certificate"
	Plain       FileKind = "plain"
)

// File is one that a flag names.
type File struct {
	Flag, Path string
	Kind       FileKind
}

// fileAnnotation is what FileVar leaves at a flag.
const fileAnnotation = "rollcall-file"

// FileVar adds a flag that takes the path of a file, "" for none.
func FileVar(flags *pflag.FlagSet, v *string, name, usage string, kind FileKind) {
	flags.StringVar(v, name, "", usage)
	_ = flags.SetAnnotation(name, fileAnnotation, []string{string(kind)}) // the flag exists
}

// Files are those that the flags name, each with its folder: who can write there can put
// another file in its place. The data folder and its database are among them once they
// exist.
func Files(flags *pflag.FlagSet) (files []File) {
	flags.VisitAll(func(f *pflag.Flag) {
		if kind := f.Annotations[fileAnnotation]; len(kind) == 1 && f.Value.String() != "" {
			file := File{"--" + f.Name, f.Value.String(), FileKind(kind[0])}
			files = append(files, file)
			if dir := filepath.Dir(file.Path); !slices.ContainsFunc(files, func(f File) bool { return f.Path == dir }) {
				files = append(files, File{file.Flag, dir, Plain})
			}
		}
	})
	if f := flags.Lookup("data-dir"); f != nil {
		dir := f.Value.String()
		for _, file := range []File{{"--data-dir", dir, Plain}, {"--data-dir", filepath.Join(dir, database.File), Secret}} {
			if _, err := os.Stat(file.Path); err == nil {
				files = append(files, file)
			}
		}
	}
	return files
}

// StrictVar adds the flag of commands that serve by which CheckFiles refuses.
func StrictVar(flags *pflag.FlagSet, strict *bool) {
	flags.BoolVar(strict, "strict-files", false, "refuse to start with files that every user of this machine can write, and secrets that all can read")
}

// CheckFiles finds files of the flags that do not exist, and warns of those that every
// user of this machine can write, or read where they are secrets. If strict, it refuses
// them.
func CheckFiles(warn func(said string, _ ...any), strict bool, flags *pflag.FlagSet) error {
	var open []error
	for _, f := range Files(flags) {
		info, err := os.Stat(f.Path)
		if err != nil {
			return Usage(fmt.Errorf("%s: %w", f.Flag, err))
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
		return Usage(errors.Join(open...))
	}
	return nil
}

// Access is what users of this machine other than the owner can do with a file.
type Access struct{ Write, Read bool }

// Open returns what a file's group, and every user, can do that they should not: write to
// it, or read a secret. What others may write in a folder with the sticky bit is their own.
func (f File) Open(mode fs.FileMode) (group, everyone Access) {
	access := func(bits fs.FileMode) Access {
		return Access{
			Write: bits&0o2 != 0 && mode&fs.ModeSticky == 0 && (mode.IsRegular() || mode.IsDir()),
			Read:  bits&0o4 != 0 && mode.IsRegular() && f.Kind == Secret,
		}
	}
	return access(mode.Perm() >> 3), access(mode.Perm())
}

// exposed says what is wrong with the mode of a file; "": nothing.
func exposed(f File, mode fs.FileMode) string {
	switch _, everyone := f.Open(mode); {
	case f.Kind == Secret && (everyone.Read || everyone.Write):
		return fmt.Sprintf("every user of this machine has access to %s %s, a secret: chmod 600 %[2]s", f.Flag, f.Path)
	case everyone.Write:
		return fmt.Sprintf("every user of this machine can write to %s %s: chmod o-w %[2]s", f.Flag, f.Path)
	}
	return ""
}
