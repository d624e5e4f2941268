package run_test

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/internal/run"
	"github.com/rollcall-fleet/rollcall/upstream"
)

func TestAProgramIsRegisteredWhileItIsHealthyAndDrainedBeforeItIsStopped(t *testing.T) {
	t.Parallel()
	o, addr := observe(t), unused(t)
	r := start(t, "server", run.Options{Endpoint: endpoint(addr, "/healthz", o.seed(), upstream.WithDrainTimeout(time.Hour))})
	pid := r.started(t)
	m := o.await(t, "healthy", is(fleet.Healthy))
	if want := (fleet.Probe{Kind: fleet.ProbeNone, OnBehalf: true}); m.Endpoint.Addr != addr || m.Probe != want {
		t.Errorf("it is announced at %s with probe %+v, want %s and %+v", m.Endpoint.Addr, m.Probe, addr, want)
	}
	get(t, addr, "/sicken")
	o.await(t, "unhealthy", is(fleet.Unhealthy))
	get(t, addr, "/heal")
	o.await(t, "healthy", is(fleet.Healthy))

	r.signals <- syscall.SIGTERM
	o.await(t, "draining", is(fleet.Draining))
	select {
	case line := <-r.lines:
		t.Errorf("the program says %q while it drains", line)
	default:
	}
	if status := get(t, addr, "/healthz"); status != 200 {
		t.Errorf("the program answers %d while it drains", status)
	}
	r.signals <- syscall.SIGTERM // ends the drain, which would take an hour
	r.says(t, "terminated")
	r.ends(t, 0, "")
	o.await(t, "gone of its own accord", left)
	gone(t, pid)
}

func TestOtherSignalsArePassedOn(t *testing.T) {
	t.Parallel()
	addr := unused(t)
	r := start(t, "server", run.Options{Endpoint: endpoint(addr, "tcp")})
	r.started(t)
	for _, s := range []syscall.Signal{syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGUSR2} {
		r.signals <- s
		r.says(t, s.String())
	}
}

func TestTheExitCodeIsTheProgramsOwn(t *testing.T) {
	t.Parallel()
	for script, code := range map[string]int{"exit 0": 0, "exit 7": 7, "kill -KILL $$": 137, "kill -USR1 $$": 138} {
		t.Run(script, func(t *testing.T) {
			t.Parallel()
			r := start(t, "", run.Options{Endpoint: endpoint(unused(t), "tcp"), Program: []string{"sh", "-c", script}})
			r.ends(t, code, "")
		})
	}
}

func TestAProgramThatEndsByItselfLeavesThePool(t *testing.T) {
	t.Parallel()
	o, addr := observe(t), unused(t)
	r := start(t, "server", run.Options{Endpoint: endpoint(addr, "tcp", o.seed(), upstream.WithDrainTimeout(time.Hour))})
	r.started(t)
	o.await(t, "healthy", is(fleet.Healthy))
	r.joins(t)
	get(t, addr, "/exit?3")
	o.await(t, "gone of its own accord", left)
	r.ends(t, 3, "")
}

func TestAProgramThatFailsIsStartedAgainAndKeepsItsPlace(t *testing.T) {
	t.Parallel()
	o, addr := observe(t), unused(t)
	r := start(t, "server", run.Options{Endpoint: endpoint(addr, "/healthz", o.seed()), RestartOnFailure: true})
	first := r.started(t)
	was := o.await(t, "healthy", is(fleet.Healthy))
	get(t, addr, "/exit?3")
	o.await(t, "unhealthy", is(fleet.Unhealthy))
	if second := r.started(t); second == first {
		t.Errorf("process %d has started twice", first)
	}
	if m := o.await(t, "healthy", is(fleet.Healthy)); m.ID != was.ID {
		t.Error("it has a new id")
	}
	get(t, addr, "/exit?0")
	r.ends(t, 0, "")
}

func TestAProgramThatDoesNotGetHealthyIsStopped(t *testing.T) {
	t.Parallel()
	o, addr := observe(t), unused(t)
	e := endpoint(addr, "exec:echo no database; false", o.seed())
	e.StartTimeout = 5 * time.Second
	r := start(t, "", run.Options{
		Endpoint: e, RestartOnFailure: true,
		Program: []string{"sh", "-c", "echo started $$; exec sleep 1000"},
	})
	pid := r.started(t)
	r.ends(t, 1, "not passed within 5s of the program's start: echo no database; false: exit status 1: no database")
	gone(t, pid)
	if n := len(o.Members()); n != 1 {
		t.Errorf("the pool has %d members, want the observer alone", n)
	}
}

func TestAProgramThatDoesNotStopIsKilled(t *testing.T) {
	t.Parallel()
	r := start(t, "deaf server", run.Options{Endpoint: endpoint(unused(t), "tcp"), StopTimeout: 2 * time.Second})
	pid := r.started(t)
	r.signals <- syscall.SIGTERM
	r.says(t, "terminated")
	r.ends(t, 137, "")
	gone(t, pid)
}

func TestWhatTheProgramLeavesBehindIsStoppedToo(t *testing.T) {
	t.Parallel()
	for what, stopTimeout := range map[string]time.Duration{"server": patience, "deaf server": 2 * time.Second} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			addr := unused(t)
			// The shell waits for its child, and does not pass SIGTERM on.
			script := asProgram + "='" + what + "' " + os.Args[0] + " " + addr.String() + " & wait"
			r := start(t, "", run.Options{
				Endpoint: endpoint(addr, "tcp"), StopTimeout: stopTimeout, Program: []string{"sh", "-c", script},
			})
			pid := r.started(t)
			r.signals <- syscall.SIGTERM
			r.says(t, "terminated")
			r.ends(t, 143, "")
			gone(t, pid)
		})
	}
}

func TestTheProgramEndsWithTheProcessThatRunsIt(t *testing.T) {
	t.Parallel()
	cmd := exec.CommandContext(t.Context(), os.Args[0], unused(t).String())
	cmd.Env = append(os.Environ(), asProgram+"=runner")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 100)
	n, err := out.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	pid := atoi(t, strings.TrimSpace(strings.TrimPrefix(string(b[:n]), "started ")))
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
	gone(t, pid)
}

func TestAProgramIsToldWhoItIsAndNothingElse(t *testing.T) {
	o, addr := observe(t), unused(t)
	t.Setenv("ROLLCALL_GOSSIP_KEY_FILE", "secret")
	t.Setenv("ROLLCALL_PORT", "1")
	path := filepath.Join(t.TempDir(), "env")
	r := start(t, "", run.Options{
		Endpoint: endpoint(addr, "exec:test -s "+path, o.seed(), upstream.WithDrainTimeout(0)),
		Program:  []string{"/bin/sh", "-c", "env > " + path + "; exec sleep 60"},
	})
	m := o.await(t, "healthy", is(fleet.Healthy))
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]bool{
		"ROLLCALL_ID=" + m.ID.String(): true, "ROLLCALL_SERVICE=" + m.Service: true, "ROLLCALL_ADDRESS=" + addr.String(): true,
		"secret": false, "ROLLCALL_PORT": false,
	} {
		if strings.Contains(string(text), line) != want {
			t.Errorf("%s is in its environment: %v, want %v", line, !want, want)
		}
	}
	r.joins(t)
	r.signals <- syscall.SIGTERM
	r.ends(t, 143, "")
}

func TestAPythonProgramNeedsNoChange(t *testing.T) {
	t.Parallel()
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Fatal(err)
	}
	o, addr := observe(t), unused(t)
	r := start(t, "", run.Options{
		Endpoint: endpoint(addr, "/", o.seed(), upstream.WithDrainTimeout(0)),
		Program:  []string{python, "-u", "-m", "http.server", strconv.Itoa(int(addr.Port())), "--bind", "127.0.0.1", "--directory", t.TempDir()},
	})
	o.await(t, "healthy", is(fleet.Healthy))
	r.joins(t)
	r.signals <- syscall.SIGTERM
	r.ends(t, 143, "") // it does not handle SIGTERM
	o.await(t, "gone of its own accord", left)
}

func TestMistakesAreFoundBeforeTheProgramStarts(t *testing.T) {
	t.Parallel()
	ln := listen(t)
	t.Cleanup(func() { ln.Close() })
	addr, taken := unused(t), ln.Addr().String()
	for want, change := range map[string]func(*run.Options){
		"another process answers at " + taken: func(o *run.Options) { o.Address = netip.MustParseAddrPort(taken) },

		"no program":                   func(o *run.Options) { o.Program = nil },
		"service name is empty":        func(o *run.Options) { o.Service.Name = "" },
		"no health check":              func(o *run.Options) { o.Health.Check = nil },
		"timeout is negative":          func(o *run.Options) { o.StopTimeout = -1 },
		"the health check is negative": func(o *run.Options) { o.HealthInterval = -1 },
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			o := run.Options{Endpoint: endpoint(addr, "tcp"), Program: []string{"touch", t.TempDir() + "/started"}}
			mark := o.Program[1]
			change(&o)
			code, err := run.Run(t.Context(), o)
			if code != 1 || err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Run = %d, %v, want 1 and an error with %q", code, err, want)
			}
			if _, err := os.Stat(mark); err == nil {
				t.Error("the program was started")
			}
		})
	}
}

func TestExitCodeOfAProgramThatDoesNotStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"plain": 0o644, "empty": 0o755} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("no program\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	for program, want := range map[string]struct {
		code int
		said string
	}{
		"no-such-program":  {127, "executable file not found"},
		dir + "/missing":   {127, "no such file"},
		dir + "/plain":     {126, "permission denied"},
		dir + "/empty":     {126, "exec format error"},
		dir:                {126, "permission denied"},
		dir + "/plain/sub": {126, "not a directory"},
	} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			code, err := run.Run(t.Context(), run.Options{Endpoint: endpoint(netip.MustParseAddrPort("127.0.0.1:1"), "tcp"), Program: []string{program}})
			if code != want.code || err == nil || !strings.Contains(err.Error(), want.said) {
				t.Errorf("Run = %d, %v, want %d and an error with %q", code, err, want.code, want.said)
			}
		})
	}
}

func TestWhatRunsAlreadyIsRegisteredUntilTheContextEnds(t *testing.T) {
	t.Parallel()
	o, addr := observe(t), unused(t)
	program := start(t, "server", run.Options{Endpoint: endpoint(addr, "tcp", upstream.WithFleet("another"))})
	program.started(t)

	r := register(t, endpoint(addr, "/healthz", o.seed(), upstream.WithDrainTimeout(0)))
	o.await(t, "healthy", is(fleet.Healthy))
	get(t, addr, "/sicken")
	o.await(t, "unhealthy", is(fleet.Unhealthy))
	get(t, addr, "/heal")
	o.await(t, "healthy", is(fleet.Healthy))
	r.stop()
	o.await(t, "gone of its own accord", left)
	if err := receive(t, r.ended, "Register's end"); err != nil {
		t.Errorf("Register = %v", err)
	}
	if status := get(t, addr, "/healthz"); status != 200 {
		t.Errorf("the program answers %d after Register", status)
	}
}

func TestWhatIsNotHealthyYetIsWaitedFor(t *testing.T) {
	t.Parallel()
	o, addr := observe(t), unused(t)
	r := register(t, endpoint(addr, "tcp", o.seed(), upstream.WithDrainTimeout(0)))
	program := start(t, "server", run.Options{Endpoint: endpoint(addr, "tcp", upstream.WithFleet("another"))})
	program.started(t)
	o.await(t, "healthy", is(fleet.Healthy))
	r.stop()
	if err := receive(t, r.ended, "Register's end"); err != nil {
		t.Errorf("Register = %v", err)
	}
}

func TestRegisterEndsBeforeAnythingIsHealthy(t *testing.T) {
	t.Parallel()
	r := register(t, endpoint(unused(t), "tcp"))
	r.stop()
	if err := receive(t, r.ended, "Register's end"); err != nil {
		t.Errorf("Register = %v", err)
	}
}

func TestRegisterEndsWhenTheHealthCheckDoesNotPassInTime(t *testing.T) {
	t.Parallel()
	e := endpoint(unused(t), "exec:echo no database; false")
	e.StartTimeout = 2 * time.Second
	err := receive(t, register(t, e).ended, "Register's end")
	if err == nil || !strings.Contains(err.Error(), "has not passed within 2s") || !strings.Contains(err.Error(), "no database") {
		t.Errorf("Register = %v, want the timeout and what the check said", err)
	}
}

type registering struct {
	stop  func()
	ended chan error
}

func register(t *testing.T, e run.Endpoint) registering {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	r := registering{stop, make(chan error, 1)}
	go func() { r.ended <- run.Register(ctx, e) }()
	return r
}
