package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Build compiles rollcall into dir and returns the binary's path. The caller's
// working directory is inside the module. With ROLLCALL_E2E_RACE set the binary
// has the race detector in it, which makes it several times slower.
func Build(ctx context.Context, dir string) (string, error) {
	binary := filepath.Join(dir, "rollcall")
	args := []string{"build", "-o", binary}
	if os.Getenv("ROLLCALL_E2E_RACE") != "" {
		args = append(args, "-race")
	}
	cmd := exec.CommandContext(ctx, "go", append(args, "github.com/rollcall-fleet/rollcall/cmd/rollcall")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build rollcall: %w\n%s", err, out)
	}
	return binary, nil
}
