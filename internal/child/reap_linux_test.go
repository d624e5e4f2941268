package child

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// TestMain makes orphans of the tests children of this process, as they are of process 1.
func TestMain(m *testing.M) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		fmt.Fprintln(os.Stderr, "become the parent of orphans:", err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// children returns the processes whose parent this is, with their state.
func children(t *testing.T) []string {
	t.Helper()
	var out strings.Builder
	cmd := exec.Command("ps", "--no-headers", "--ppid", fmt.Sprint(os.Getpid()), "-o", "stat=,comm=")
	cmd.Stdout = &out
	if err := Run(cmd); err != nil {
		t.Fatal(err)
	}
	var found []string
	for line := range strings.Lines(out.String()) {
		if !strings.Contains(line, " ps") {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

func await(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !done(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s is still missing; children: %q", what, children(t))
		}
	}
}

// Each of them has a child of its own code and many orphans that end before and after it.
func TestOrphansAreReapedAndOwnChildrenKeepTheirExitStatus(t *testing.T) {
	stop := Reap()
	defer stop()
	for round := range 20 {
		for code := range 3 {
			t.Run(fmt.Sprintf("%d.%d", round, code), func(t *testing.T) {
				t.Parallel()
				cmd := exec.Command("/bin/sh", "-c", fmt.Sprintf(`for i in 1 2 3 4 5; do (sh -c 'exit 9' &) ; (sleep 0.05 &) ; done; exit %d`, code))
				_ = Run(cmd)
				if got := cmd.ProcessState.ExitCode(); got != code {
					t.Errorf("exit code %d, want %d", got, code)
				}
			})
		}
	}
	t.Cleanup(func() {
		again := Reap()
		defer again()
		await(t, "the end of all children", func() bool { return len(children(t)) == 0 })
	})
}

func TestZombiesThatAreThereAlreadyAreReaped(t *testing.T) {
	if err := Run(exec.Command("/bin/sh", "-c", "(sh -c 'exit 9' &)")); err != nil {
		t.Fatal(err)
	}
	await(t, "a zombie", func() bool { return strings.HasPrefix(strings.Join(children(t), "\n"), "Z") })
	stop := Reap()
	defer stop()
	await(t, "the end of all children", func() bool { return len(children(t)) == 0 })
}

// The kernel lists it first; the orphan behind it must not have to wait.
func TestAnOwnChildThatIsNotWaitedForYetHoldsUpNoOrphan(t *testing.T) {
	cmd := exec.Command("/bin/sh", "-c", "exit 7")
	if err := Start(cmd); err != nil {
		t.Fatal(err)
	}
	await(t, "a zombie", func() bool { return len(children(t)) == 1 && strings.HasPrefix(children(t)[0], "Z") })
	stop := Reap()
	defer stop()
	if err := Run(exec.Command("/bin/sh", "-c", "(sh -c 'exit 9' &)")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(5 * retryEvery)
	if err := Wait(cmd); err == nil || cmd.ProcessState.ExitCode() != 7 {
		t.Errorf("Wait = %v, exit code %d, want 7", err, cmd.ProcessState.ExitCode())
	}
	await(t, "the end of all children", func() bool { return len(children(t)) == 0 })
}

func TestAProgramThatDoesNotStartIsNotWaitedFor(t *testing.T) {
	if err := Run(exec.Command("/no/such/program")); err == nil {
		t.Error("there is no error")
	}
	if len(own) != 0 {
		t.Errorf("children are left in the register: %v", own)
	}
}
