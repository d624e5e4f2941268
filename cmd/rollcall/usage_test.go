package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/goleak"

	"github.com/rollcall-fleet/rollcall/cmd/rollcall/cli"
	"github.com/rollcall-fleet/rollcall/internal/certs"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/rollcall-fleet/rollcall/cmd/rollcall/cli.(*unblocked).run")) // as long as the process
}

// invoke runs rollcall in this process and returns what it prints.
func invoke(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	root := newRoot()
	root.SetArgs(args)
	root.SetOut(&out)
	root.SetErr(io.Discard)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func TestMistakesOnTheCommandLineAreNamed(t *testing.T) {
	for line, want := range map[string]string{
		"upstream --port x":                              `--port is "x", give a port from 0 to 65535, such as 8081 (see rollcall upstream --help)`,
		"upstream --port 65536":                          `--port is "65536", give a port`,
		"upstream --weight -1":                           `--weight is "-1", give a whole number, such as 50`,
		"upstream --weight 0":                            "--weight: weight is 0: want 1 to 65535",
		"upstream --drain-timeout 5":                     `--drain-timeout is "5", give a duration, such as 500ms or 10s`,
		"upstream --tag version":                         `--tag is "version", give key=value, such as version=2`,
		"upstream --tag az=a":                            "--tag az=a: pass --az instead",
		"upstream --tag load_balancing_weight=5":         "--tag load_balancing_weight=5: pass --weight instead",
		"upstream --canary=perhaps":                      `--canary is "perhaps", give true or false`,
		"upstream --log-level loud":                      `--log-level is "loud", give debug, info, warn or error`,
		"upstream --address nowhere":                     `--address: "nowhere" is not an IP address`,
		"upstream --address 0.0.0.0":                     "pass --address with the one it can reach",
		"upstream --profile slow":                        `--profile: profile "slow" is none of lan, wan, fast`,
		"upstream --join a:b:c":                          `"a:b:c"`,
		"upstream --service=":                            "--service: service name is empty",
		"upstream now":                                   "unknown command",
		"upstream --fast":                                "unknown flag: --fast",
		"run -p 1 --service s":                           "no program to run",
		"run -p 0 --service s -- true":                   "address of the endpoint: port is 0",
		"register --service s":                           "--address is missing",
		"eds --guard x":                                  `--guard is "x", give a number, such as 0.5`,
		"eds --guard 2":                                  "--guard is 2",
		"eds --guard-hold -1m":                           "--guard-hold is -1m0s, give a time above 0; to turn the guard off, pass --guard 0",
		"eds --guard-hold 0s":                            "--guard-hold is 0s, give",
		"eds --gossip 0.0.0.0:7946":                      "set --advertise to the address that they can reach, or --gossip to listen",
		"eds --http 8080":                                `--http: "8080" is not ip:port`,
		"eds --debug 10.0.0.1:6060":                      "--debug 10.0.0.1:6060 can be reached from other machines",
		"eds --debug [::]:6060":                          "give a loopback address",
		"envoy bootstrap --service=":                     "--service is empty",
		"envoy bootstrap --api soap":                     `--api: api "soap" is none of`,
		"envoy bootstrap --refresh-delay 1ms --api rest": "refresh",
		"envoy run --bootstrap . --listen 127.0.0.1:1":   "--listen has no effect with --bootstrap",
		"envoy run --bootstrap . --api rest --node-id n": "--api, --node-id has no effect with --bootstrap",
		"envoy run --bootstrap . --log-level loud":       `--log-level is "loud", give one of trace`,
		"envoy run --envoy /no/such/envoy":               "--envoy=/no/such/envoy is no program",
		"demo --envoy /no/such/envoy":                    "--envoy=/no/such/envoy is no program",
		"demo --api soap":                                `--api: api "soap" is none of`,
		"completion tcsh":                                `unknown command "tcsh"`,
		"keygen what":                                    `unknown command "what"`,
		"nothing":                                        `unknown command "nothing"`,
		"hots":                                           `unknown command "hots" for "rollcall", is it "hosts"?`,
		"keys lisst":                                     `unknown command "lisst" for "rollcall keys", is it "list"?`,
		"upstream --log-format xml":                      `--log-format is "xml", give one of text, json`,
	} {
		t.Run(line, func(t *testing.T) {
			_, err := invoke(t, strings.Fields(line)...)
			var usage cli.UsageError
			if !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
				t.Errorf("the error is %T %v, want a mistake with %q", err, err, want)
			}
			if err != nil && strings.Contains(err.Error(), "strconv") {
				t.Errorf("the error is Go's: %v", err)
			}
		})
	}
}

func TestMistakesInTheEnvironmentAreNamed(t *testing.T) {
	for _, tt := range [][3]string{
		{"upstream", "ROLLCALL_WEIGHT", `give a whole number, such as 50`},
		{"upstream", "ROLLCALL_LOG_LEVEL", `give debug, info, warn or error`},
		{"upstream", "ROLLCALL_LOG_FORMAT", `give one of text, json`},
		{"envoy run", "ROLLCALL_LOG_LEVEL", `give one of trace, debug, info, warning, warn, error, critical, off`},
	} {
		t.Run(tt[1], func(t *testing.T) {
			t.Setenv(tt[1], "much")
			var usage cli.UsageError
			if _, err := invoke(t, strings.Fields(tt[0])...); !errors.As(err, &usage) || err.Error() != fmt.Sprintf(`%s is "much", %s`, tt[1], tt[2]) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

func TestAFileThatIsNotThereIsAMistakeOnTheCommandLine(t *testing.T) {
	for _, line := range []string{
		"eds --gossip-key-file", "eds --eds-key", "eds --http-tokens", "eds --http-cert", "eds --http-key", "eds --http-client-ca",
		"eds --xds-cert", "eds --xds-key", "eds --xds-client-ca", "eds --xds-policy", "eds --service-keys", "eds --eds-pub", "envoy run --tls-ca", "envoy run --tls-cert", "envoy run --tls-key", "envoy run --bootstrap", "upstream --gossip-key-file", "upstream --service-key",
		"run --service s -p 1 --gossip-key-file", "register --service s --address 127.0.0.1:1 --service-key",
		"services --token-file", "services --ca", "services --cert", "services --key",
	} {
		args := append(strings.Fields(line), filepath.Join(t.TempDir(), "none"))
		if args[0] == "run" {
			args = append(args, "--", "true")
		}
		flag := strings.Fields(line)[len(strings.Fields(line))-1]
		var usage cli.UsageError
		if _, err := invoke(t, args...); !errors.As(err, &usage) || !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), flag+": ") {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestAFileThatHoldsSomethingElseIsAMistakeOnTheCommandLine(t *testing.T) {
	dir := t.TempDir()
	garbled := filepath.Join(dir, "garbled")
	if err := os.WriteFile(garbled, []byte("- [what"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"one", "two"} { // two pairs that do not belong together
		if err := certs.Init(certs.InitOptions{Dir: filepath.Join(dir, name), Life: time.Hour}); err != nil {
			t.Fatal(err)
		}
	}
	pair := []string{filepath.Join(dir, "one", "eds.pem"), filepath.Join(dir, "two", "eds-key.pem")}
	for _, flags := range [][]string{
		{"--xds-policy", garbled}, {"--service-keys", garbled}, {"--http-tokens", garbled},
		{"--http-cert", pair[0], "--http-key", pair[1]}, {"--xds-cert", pair[0], "--xds-key", pair[1]},
	} {
		args := append([]string{"eds", "--http", "127.0.0.1:0", "--xds", "127.0.0.1:0", "--gossip", "127.0.0.1:0", "--log-level", "error", "--data-dir", t.TempDir()}, flags...)
		var usage cli.UsageError
		if _, err := invoke(t, args...); !errors.As(err, &usage) {
			t.Errorf("eds %q: %v", flags, err)
		}
	}
}

func TestEnvoysAdminInterfaceIsOpenedOnPurposeOnly(t *testing.T) {
	var usage cli.UsageError
	_, err := invoke(t, "envoy", "run", "--admin", "0.0.0.0:9901", "--envoy", "/nonexistent")
	if !errors.As(err, &usage) || !strings.Contains(err.Error(), "--admin 0.0.0.0 can be reached from other machines") || !strings.Contains(err.Error(), "--insecure") {
		t.Errorf("error %v", err)
	}
	for _, flags := range [][]string{{"--admin", "127.0.0.1:9901"}, {"--admin", "0.0.0.0:9901", "--insecure"}} {
		_, err := invoke(t, append([]string{"envoy", "run", "--envoy", "/nonexistent"}, flags...)...)
		if err == nil || strings.Contains(err.Error(), "--insecure") {
			t.Errorf("%v: error %v", flags, err)
		}
	}
}

// fakeEnvoy writes how it was called to args in dir, and that admin is the address of
// its admin interface, and then runs the rest of the script.
func fakeEnvoy(t *testing.T, dir, admin, then string) string {
	t.Helper()
	path := filepath.Join(dir, "envoy")
	script := `#!/bin/sh
echo "$@" > ` + dir + `/args
while [ "$1" != --admin-address-path ]; do shift; done
printf ` + admin + ` > "$2"
` + then + "\n"
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestEnvoyIsRunQuietlyAndWhereItListensIsToldOnceItIsReady(t *testing.T) {
	dir := t.TempDir()
	var asked atomic.Int32
	admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if n := asked.Add(1); r.URL.Path != "/ready" || n < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer admin.Close()
	address := admin.Listener.Addr().String()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	said, say := io.Pipe()
	root := newRoot()
	root.SetArgs([]string{"envoy", "run", "--envoy", fakeEnvoy(t, dir, address, "exec sleep 60")})
	root.SetErr(say)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() {
		defer say.Close()
		if err := root.ExecuteContext(ctx); err != nil {
			t.Error(err)
		}
	})
	want := "rollcall: Envoy takes requests at 127.0.0.1:10000, its admin interface is at http://" + address + "/\n"
	lines := bufio.NewReader(said)
	for line := ""; line != want; {
		var err error
		if line, err = lines.ReadString('\n'); err != nil {
			t.Fatalf("%q is not said: %v", want, err)
		}
	}
	running.Go(func() { _, _ = io.Copy(io.Discard, lines) })
	if asked.Load() != 3 {
		t.Errorf("it was told after %d questions", asked.Load())
	}
	if args, err := os.ReadFile(filepath.Join(dir, "args")); err != nil || !strings.Contains(string(args), "--log-level warning") {
		t.Errorf("envoy is called with %s, %v", args, err)
	}
}

func TestNothingIsToldOfAnEnvoyThatEnds(t *testing.T) {
	var said bytes.Buffer
	root := newRoot()
	root.SetArgs([]string{"envoy", "run", "--envoy", fakeEnvoy(t, t.TempDir(), "127.0.0.1:1", "sleep 0.3; exit 1")})
	root.SetErr(&said)
	if err := root.ExecuteContext(t.Context()); err == nil || said.Len() > 0 {
		t.Errorf("it says %q, %v", &said, err)
	}
}

func TestCompletionOfAShellIsStillThere(t *testing.T) {
	if out, err := invoke(t, "completion", "bash", "--help"); err != nil || !strings.Contains(out, "bash shell") {
		t.Errorf("%v: %.100q", err, out)
	}
}

func TestWatchOffersTheOutputsThatItHas(t *testing.T) {
	if out, err := invoke(t, "watch", "--help"); err != nil || strings.Contains(out, "yaml") {
		t.Errorf("it says %v\n%s", err, out)
	}
	if out, err := invoke(t, "hosts", "--help"); err != nil || !strings.Contains(out, "table, json or yaml") {
		t.Errorf("of another verb it says %v\n%s", err, out)
	}
	if out, err := invoke(t, cobra.ShellCompRequestCmd, "watch", "-o", ""); err != nil || !strings.HasPrefix(out, "table\njson\n:") {
		t.Errorf("completed by %q, %v", out, err)
	}
}

func TestTheHelpOfAVerbThatIsNoneIsAMistake(t *testing.T) {
	for line, want := range map[string]string{
		"drian --help": `unknown command "drian" for "rollcall", is it "drain"?`, "keys lisst -h": `is it "list"?`,
		"drain --help": "", "keys list --help": "", "--help": "", "help --help": "", "help drain": "", "drian": "",
		"__complete drain --help": "", "run -p 1 -- program --help": "", "guards --server 10.0.0.5 --help": "",
	} {
		err := cli.UnknownSubcommand(newRoot(), strings.Fields(line))
		if (err != nil) != (want != "") || err != nil && (!strings.Contains(err.Error(), want) || cli.ExitCode(err) != cli.ExitUsage) {
			t.Errorf("rollcall %s: %v, want %q", line, err, want)
		}
	}
}

func TestEveryVerbHasAnExample(t *testing.T) {
	var check func(c *cobra.Command)
	check = func(c *cobra.Command) {
		if c.Short == "" || !strings.HasPrefix(c.Example, "  ") || !strings.Contains(c.Example, c.CommandPath()) && c.HasParent() {
			t.Errorf("%s has no example that uses it: %q", c.CommandPath(), c.Example)
		}
		for _, sub := range c.Commands() {
			check(sub)
		}
	}
	check(newRoot())
}
