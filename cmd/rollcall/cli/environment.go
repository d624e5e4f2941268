package cli

import (
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// FromEnvironment sets each flag that is not on the command line from its
// variable, ROLLCALL_ and the flag's name in capitals. An empty variable counts as
// not given.
func FromEnvironment(c *cobra.Command) error { return EnvironmentOf(c, os.Getenv) }

// EnvironmentOf does so with the variables of any environment.
func EnvironmentOf(c *cobra.Command, getenv func(string) string) error {
	var (
		err     error
		ignored []*pflag.Flag
	)
	c.Flags().VisitAll(func(f *pflag.Flag) {
		name := EnvName(f.Name)
		value := getenv(name)
		if f.Changed || value == "" || f.Name == "help" || f.Name == "version" || err != nil {
			return
		}
		if fromKubernetes(name, value) {
			ignored = append(ignored, f)
			return
		}
		if e := c.Flags().Set(f.Name, value); e != nil {
			err = Usage(valueError(name, e))
		}
	})
	for _, f := range ignored {
		loggerOf(c).Warn("variable ignored: Kubernetes sets it for a Service of this name", "variable", EnvName(f.Name), "value", getenv(EnvName(f.Name)),
			"do", "pass --"+f.Name+", rename the Service, or set enableServiceLinks: false")
	}
	return err
}

// fromKubernetes reports whether a variable is one that Kubernetes sets in each pod
// for a Service: ROLLCALL_PORT=tcp://10.0.0.1:80 for one that is called rollcall.
func fromKubernetes(name, value string) bool {
	scheme, addr, ok := strings.Cut(value, "://")
	if !ok || !strings.HasSuffix(name, "_PORT") || !slices.Contains([]string{"tcp", "udp", "sctp"}, scheme) {
		return false
	}
	_, err := netip.ParseAddrPort(addr)
	return err == nil
}

func EnvName(flag string) string {
	return "ROLLCALL_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}
