package e2e

import (
	"context"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"

	"github.com/rollcall-fleet/rollcall/e2e/faults"
	"github.com/rollcall-fleet/rollcall/envoy"
)

// Set by TestMain, read by every test.
var (
	binary    string // rollcall, built for this run
	envoyPath string // the real Envoy
)

func TestMain(m *testing.M) {
	if odd, err := faults.Odd(); odd {
		if err != nil {
			fmt.Fprintln(os.Stderr, "odd upstream:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if playUpgrader() {
		os.Exit(0)
	}
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		os.Exit(1)
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	if err := raiseParallelism(); err != nil {
		return 0, err
	}
	if err := dependOnSources(".."); err != nil {
		return 0, err
	}
	path, err := envoy.Find("")
	if err != nil {
		return 0, err
	}
	envoyPath = path
	dir, err := os.MkdirTemp("", "rollcall-e2e-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	binary, err = Build(context.Background(), dir)
	if err != nil {
		return 0, err
	}
	return m.Run(), nil
}

// raiseParallelism lets more tests run side by side than there are CPUs, because
// most of their time is waiting for gossip; unless the command line says otherwise.
func raiseParallelism() error {
	said := false
	flag.Visit(func(f *flag.Flag) { said = said || f.Name == "test.parallel" })
	if said {
		return nil
	}
	return flag.Set("test.parallel", strconv.Itoa(4*runtime.NumCPU()))
}

// dependOnSources looks at every folder of the module, so that `go test` knows
// that a result holds only for the files it was made from: it keeps account of
// what a test opens, but not of what the compiler that a test starts does.
func dependOnSources(root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && (d.Name() == ".git" || d.Name() == "bin") {
			return fs.SkipDir
		}
		return err
	})
}
