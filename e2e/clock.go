package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// ClockVariable names the file that says by how many seconds the wall clock of a
// binary from BuildWithClock is ahead: a number with a sign, such as +3600. The
// monotonic clock is not touched, as when an administrator sets the time.
const ClockVariable = "ROLLCALL_E2E_CLOCK"

// clockSource is added to the standard library's package time. A goroutine reads the
// file, since Now is also called where nothing may be asked of the kernel.
const clockSource = `package time

import (
	"sync/atomic"
	"syscall"
)

var ahead atomic.Int64

func init() {
	file, given := syscall.Getenv("` + ClockVariable + `")
	if !given || file == "" {
		return
	}
	readAhead(file)
	go func() {
		for {
			Sleep(20 * Millisecond)
			readAhead(file)
		}
	}()
}

func readAhead(file string) {
	fd, err := open(file)
	if err != nil {
		return
	}
	defer closefd(fd)
	var b [8]byte
	n, _ := read(fd, b[:])
	if n < 2 {
		return // it is being written
	}
	var v int64
	for _, c := range b[1:n] {
		v = 10*v + int64(c-'0')
	}
	if b[0] == '-' {
		v = -v
	}
	ahead.Store(v)
}
`

// BuildWithClock is Build with a wall clock that tests can set. It compiles the
// standard library and everything on top of it again, which takes a minute or more
// the first time.
func BuildWithClock(ctx context.Context, dir string) (string, error) {
	root, err := exec.CommandContext(ctx, "go", "env", "GOROOT").Output()
	if err != nil {
		return "", fmt.Errorf("find the standard library: %w", err)
	}
	src := filepath.Join(string(bytes.TrimSpace(root)), "src", "time")
	original, err := os.ReadFile(filepath.Join(src, "time.go"))
	if err != nil {
		return "", err
	}
	now := []byte("sec, nsec, mono := runtimeNow()\n\tif mono == 0 {")
	if bytes.Count(original, now) != 1 {
		return "", fmt.Errorf("time.Now of %s is not as expected", src)
	}
	patched := bytes.Replace(original, now, []byte("sec, nsec, mono := runtimeNow()\n\tsec += ahead.Load()\n\tif mono == 0 {"), 1)
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{
		filepath.Join(src, "time.go"):       filepath.Join(dir, "time.go"),
		filepath.Join(src, "time_ahead.go"): filepath.Join(dir, "time_ahead.go"),
	}})
	if err != nil {
		return "", err
	}
	for name, content := range map[string][]byte{"time.go": patched, "time_ahead.go": []byte(clockSource), "overlay.json": overlay} {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return "", err
		}
	}
	binary := filepath.Join(dir, "rollcall-clock")
	cmd := exec.CommandContext(ctx, "go", "build", "-overlay", filepath.Join(dir, "overlay.json"), "-o", binary, "github.com/rollcall-fleet/rollcall/cmd/rollcall")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build rollcall with a clock: %w\n%s", err, out)
	}
	return binary, nil
}
