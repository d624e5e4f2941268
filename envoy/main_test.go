package envoy

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// asProgram makes the test binary play the program that a test runs.
const asProgram = "ROLLCALL_TEST_PROGRAM"

func TestMain(m *testing.M) {
	switch os.Getenv(asProgram) {
	case "":
		goleak.VerifyTestMain(m)
	case "deaf": // never stops by itself within a test
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("ignoring SIGTERM")
		time.Sleep(time.Minute)
	case "runner": // runs the Envoy and the bootstrap file that it is given
		opts := RunOptions{Path: os.Args[1], BootstrapFile: os.Args[2], Stderr: os.Stderr, LogLevel: "info"}
		if err := Run(context.Background(), opts); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

// realEnvoy returns the Envoy that make envoy fetches, or another that was named.
func realEnvoy(t *testing.T) string {
	t.Helper()
	path, err := Find("")
	if err != nil {
		t.Fatal(err)
	}
	return path
}
