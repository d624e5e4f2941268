package main

import (
	"bytes"
	"errors"
	"io"
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
		"eds --gossip 0.0.0.0:7946":                      "pass --advertise IP",
		"eds --http 8080":                                `--http: "8080" is not ip:port`,
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
	t.Setenv("ROLLCALL_WEIGHT", "much")
	var usage usageError
	if _, err := invoke(t, "upstream"); !errors.As(err, &usage) || err.Error() != `ROLLCALL_WEIGHT is "much", give a whole number, such as 50` {
		t.Errorf("the error is %v", err)
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

func TestCompletionOfAShellIsStillThere(t *testing.T) {
	if out, err := invoke(t, "completion", "bash", "--help"); err != nil || !strings.Contains(out, "bash shell") {
		t.Errorf("%v: %.100q", err, out)
	}
}
