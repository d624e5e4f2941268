package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

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
		"upstream --weight 0":                            "--weight: weight is 0, give 1 to 65535",
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
		"eds --gossip 0.0.0.0:7946":                      "pass --advertise IP",
		"eds --http 8080":                                `--http: "8080" is not ip:port`,
		"eds --debug 10.0.0.1:6060":                      "--debug 10.0.0.1:6060 can be reached from other machines",
		"eds --debug [::]:6060":                          "give a loopback address",
		"envoy bootstrap --service=":                     "--service is empty",
		"envoy bootstrap --api soap":                     `--api: api "soap" is none of`,
		"envoy bootstrap --refresh-delay 1ms --api rest": "refresh",
		"envoy run --bootstrap f --listen 127.0.0.1:1":   "--listen has no effect with --bootstrap",
		"envoy run --bootstrap f --api rest --node-id n": "--api, --node-id has no effect with --bootstrap",
		"envoy run --bootstrap f --log-level loud":       `--log-level is "loud", give one of trace`,
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
			var usage usageError
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
			var usage usageError
			if _, err := invoke(t, strings.Fields(tt[0])...); !errors.As(err, &usage) || err.Error() != fmt.Sprintf(`%s is "much", %s`, tt[1], tt[2]) {
				t.Errorf("the error is %v", err)
			}
		})
	}
}

func TestAFileThatIsNotThereIsAMistakeOnTheCommandLine(t *testing.T) {
	for _, line := range []string{
		"eds --gossip-key-file", "eds --eds-key", "eds --http-tokens", "eds --http-cert", "eds --http-key", "eds --http-client-ca",
		"eds --xds-cert", "eds --xds-key", "eds --xds-client-ca", "eds --xds-policy", "upstream --gossip-key-file", "upstream --service-key",
		"run --service s -p 1 --gossip-key-file", "register --service s --address 127.0.0.1:1 --service-key",
		"services --token-file", "services --ca", "services --cert", "services --key",
	} {
		args := append(strings.Fields(line), filepath.Join(t.TempDir(), "none"))
		if args[0] == "run" {
			args = append(args, "--", "true")
		}
		flag := strings.Fields(line)[len(strings.Fields(line))-1]
		var usage usageError
		if _, err := invoke(t, args...); !errors.As(err, &usage) || !errors.Is(err, fs.ErrNotExist) || !strings.HasPrefix(err.Error(), flag+": ") {
			t.Errorf("%s: %v", line, err)
		}
	}
}

func TestASecretThatEverybodyCanReadIsToldOf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gossip.key")
	for mode, want := range map[os.FileMode]bool{0o600: false, 0o640: false, 0o604: true, 0o602: true, 0o644: true} {
		if err := errors.Join(os.WriteFile(path, nil, 0o600), os.Chmod(path, mode)); err != nil {
			t.Fatal(err)
		}
		var said []string
		warn := func(s string, _ ...any) { said = append(said, s) }
		err := checkFiles(warn, file{"--gossip-key-file", path, true}, file{"--ca", path, false}, file{"--key", "", true})
		if err != nil || (len(said) == 1) != want || want && !strings.Contains(said[0], "--gossip-key-file "+path+", a secret: chmod 600 "+path) {
			t.Errorf("of mode %o it says %q, %v", mode, said, err)
		}
	}
}

func TestATokenThatEverybodyCanReadIsToldOf(t *testing.T) {
	r := newRig(t)
	path := filepath.Join(t.TempDir(), "ann.token")
	if err := errors.Join(os.WriteFile(path, []byte("secret"), 0o600), os.Chmod(path, 0o644)); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	root := newRoot()
	root.SetArgs([]string{"services", "--token-file", path, "--server", r.server.URL})
	root.SetOut(io.Discard)
	root.SetErr(&said)
	if err := root.ExecuteContext(t.Context()); err != nil || !strings.HasPrefix(said.String(), "rollcall: every user of this machine has access to --token-file "+path) {
		t.Errorf("it says %s, %v", &said, err)
	}
}

func TestTheFlagPrintsTheVersionAsTheVerbDoes(t *testing.T) {
	verb, err := invoke(t, "version")
	if err != nil {
		t.Fatal(err)
	}
	flag, err := invoke(t, "--version")
	if err != nil || flag != verb || !strings.HasPrefix(flag, "rollcall ") {
		t.Errorf("it prints %q, %v, want %q", flag, err, verb)
	}
}

func TestEnvoyIsRunQuietlyAndWhereItListensIsTold(t *testing.T) {
	dir := t.TempDir()
	fake := filepath.Join(dir, "envoy") // says how it was called
	if err := os.WriteFile(fake, []byte("#!/bin/sh\necho \"$@\" > "+dir+"/args\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	root := newRoot()
	root.SetArgs([]string{"envoy", "run", "--envoy", fake})
	root.SetErr(&said)
	if err := root.ExecuteContext(t.Context()); err != nil || said.String() != "rollcall: Envoy takes requests at 127.0.0.1:10000, its admin interface is at http://127.0.0.1:9901/\n" {
		t.Errorf("it says %q, %v", &said, err)
	}
	if args, err := os.ReadFile(filepath.Join(dir, "args")); err != nil || !strings.Contains(string(args), "--log-level warning") {
		t.Errorf("envoy is called with %s, %v", args, err)
	}
}

func TestCompletionOfAShellIsStillThere(t *testing.T) {
	if out, err := invoke(t, "completion", "bash", "--help"); err != nil || !strings.Contains(out, "bash shell") {
		t.Errorf("%v: %.100q", err, out)
	}
}
