package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/rollcall-fleet/rollcall/cmd/rollcall/cli"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// commands are root and all below it.
func commands(root *cobra.Command) []*cobra.Command {
	all := []*cobra.Command{root}
	for _, c := range root.Commands() {
		all = append(all, commands(c)...)
	}
	return all
}

func TestEmptyVariableCountsAsNotGiven(t *testing.T) {
	for _, c := range commands(newRoot()) {
		c.Flags().VisitAll(func(f *pflag.Flag) {
			t.Setenv(cli.EnvName(f.Name), "")
		})
	}
	for _, c := range commands(newRoot()) {
		if err := cli.FromEnvironment(c); err != nil {
			t.Errorf("%s: %v", c.CommandPath(), err)
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Changed {
				t.Errorf("%s: --%s was given", c.CommandPath(), f.Name)
			}
		})
	}
}

// Kubernetes sets these in each pod for a Service that is called rollcall and has a
// named port, and for one that is called rollcall-NAME.
func TestVariablesOfAKubernetesServiceAreIgnored(t *testing.T) {
	const link = "tcp://10.0.0.1:8080"
	for name, value := range map[string]string{"SERVICE_HOST": "10.0.0.1", "SERVICE_PORT": "8080", "SERVICE_PORT_HTTP": "8080", "PORT": link,
		"PORT_8080_TCP": link, "PORT_8080_TCP_PROTO": "tcp", "PORT_8080_TCP_PORT": "8080", "PORT_8080_TCP_ADDR": "10.0.0.1"} {
		for _, service := range []string{"ROLLCALL", "ROLLCALL_EDS", "ROLLCALL_HTTP", "ROLLCALL_XDS", "ROLLCALL_GOSSIP", "ROLLCALL_DEBUG", "ROLLCALL_ADMIN", "ROLLCALL_ENVOY"} {
			t.Setenv(service+"_"+name, value)
		}
	}
	for _, c := range commands(newRoot()) {
		if err := cli.FromEnvironment(c); err != nil {
			t.Errorf("%s: %v", c.CommandPath(), err)
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Changed {
				t.Errorf("%s: --%s was given", c.CommandPath(), f.Name)
			}
		})
	}
}

func TestOnlyTheFormOfKubernetesIsIgnored(t *testing.T) {
	for value, ignored := range map[string]bool{
		"tcp://10.0.0.1:80": true, "udp://10.0.0.1:80": true, "sctp://[fd00::1]:80": true,
		"tcp://10.0.0.1": false, "tcp://": false, "http://10.0.0.1:80": false, "10.0.0.1:80": false, "much": false,
	} {
		t.Run(value, func(t *testing.T) {
			t.Setenv("ROLLCALL_PORT", value)
			_, err := invoke(t, "run", "--service", "s", "--", "true")
			var usage cli.UsageError
			if want := map[bool]string{true: "--port is missing", false: "ROLLCALL_PORT is "}[ignored]; !errors.As(err, &usage) || !strings.Contains(err.Error(), want) {
				t.Errorf("the error is %v, want %q", err, want)
			}
		})
	}
}

// An image may have them for its own purposes.
func TestHelpAndVersionAreNotTakenFromTheEnvironment(t *testing.T) {
	t.Setenv("ROLLCALL_VERSION", "1.2.3")
	t.Setenv("ROLLCALL_HELP", "much")
	root := newRoot()
	root.InitDefaultVersionFlag()
	if err := cli.FromEnvironment(root); err != nil {
		t.Error(err)
	}
}

func TestFormerNameOfAFlag(t *testing.T) {
	for line, tt := range map[string]struct {
		env, want string
	}{
		"--stop-timeout 3s":                         {"", "3s"},
		"--shutdown-timeout 4s":                     {"ROLLCALL_STOP_TIMEOUT", "4s"},
		"--stop-timeout 5s":                         {"ROLLCALL_SHUTDOWN_TIMEOUT", "5s"},
		"--shutdown-timeout 6s --stop-timeout 7s":   {"", "6s"},
		"--stop-timeout 7s --shutdown-timeout 6.5s": {"", "6.5s"},
		"": {"ROLLCALL_STOP_TIMEOUT", "1m0s"},
	} {
		t.Run(line, func(t *testing.T) {
			if tt.env != "" {
				t.Setenv(tt.env, "1m")
			}
			c := newRun()
			if err := errors.Join(c.ParseFlags(strings.Fields(line)), cli.FromEnvironment(c)); err != nil {
				t.Fatal(err)
			}
			if got := c.Flags().Lookup("shutdown-timeout").Value.String(); got != tt.want {
				t.Errorf("--shutdown-timeout is %s, want %s", got, tt.want)
			}
		})
	}
}

func TestShutdownTimeoutIsAboveZero(t *testing.T) {
	for _, line := range []string{"eds", "upstream", "run", "envoy run"} {
		_, err := invoke(t, append(strings.Fields(line), "--shutdown-timeout", "0")...)
		var usage cli.UsageError
		if !errors.As(err, &usage) || !strings.HasPrefix(err.Error(), `--shutdown-timeout: "0" is not a duration above 0`) {
			t.Errorf("%s: %v", line, err)
		}
	}
}
