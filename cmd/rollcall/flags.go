package main

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip"
	"github.com/rollcall-fleet/rollcall/upstream"
)

// fromEnvironment sets each flag that is not on the command line from its
// variable, ROLLCALL_ and the flag's name in capitals. An empty variable counts as
// not given.
func fromEnvironment(c *cobra.Command) error { return environmentOf(c, os.Getenv) }

// environmentOf does so with the variables of any environment.
func environmentOf(c *cobra.Command, getenv func(string) string) error {
	var (
		err     error
		ignored []*pflag.Flag
	)
	c.Flags().VisitAll(func(f *pflag.Flag) {
		name := envName(f.Name)
		value := getenv(name)
		if f.Changed || value == "" || f.Name == "help" || f.Name == "version" || err != nil {
			return
		}
		if fromKubernetes(name, value) {
			ignored = append(ignored, f)
			return
		}
		if e := c.Flags().Set(f.Name, value); e != nil {
			err = usageError{valueError(name, e)}
		}
	})
	for _, f := range ignored {
		loggerOf(c).Warn("variable ignored: Kubernetes sets it for a Service of this name", "variable", envName(f.Name), "value", getenv(envName(f.Name)),
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

func envName(flag string) string {
	return "ROLLCALL_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// addrPort is a flag that takes ip:port.
type addrPort struct{ v *netip.AddrPort }

func (a addrPort) Set(s string) error {
	v, err := netip.ParseAddrPort(s)
	if err != nil {
		return fmt.Errorf("%q is not ip:port, such as 127.0.0.1:8080", s)
	}
	*a.v = v
	return nil
}

func (a addrPort) Type() string { return "ip:port" }
func (a addrPort) String() string {
	if a.v == nil || !a.v.IsValid() {
		return ""
	}
	return a.v.String()
}

// ipAddr is a flag that takes an IP address.
type ipAddr struct{ v *netip.Addr }

func (a ipAddr) Set(s string) error {
	v, err := netip.ParseAddr(s)
	if err != nil {
		return fmt.Errorf("%q is not an IP address, such as 127.0.0.1", s)
	}
	*a.v = v
	return nil
}

func (a ipAddr) Type() string { return "ip" }
func (a ipAddr) String() string {
	if a.v == nil || !a.v.IsValid() {
		return ""
	}
	return a.v.String()
}

// profileFlag is a flag that takes a profile of gossip.
type profileFlag struct{ v *gossip.Profile }

func (p profileFlag) Set(s string) (err error) {
	*p.v, err = gossip.ParseProfile(s)
	return err
}

func (p profileFlag) Type() string { return "profile" }
func (p profileFlag) String() string {
	if p.v == nil {
		return ""
	}
	return string(*p.v)
}

// choice is a flag that takes one of some words.
type choice struct {
	v  *string
	of []string
}

func (c choice) Set(s string) error {
	if !slices.Contains(c.of, s) {
		return fmt.Errorf("%q is none of %s", s, strings.Join(c.of, ", "))
	}
	*c.v = s
	return nil
}

func (c choice) Type() string { return "string" }
func (c choice) String() string {
	if c.v == nil {
		return ""
	}
	return *c.v
}

func choiceVar(fs *pflag.FlagSet, v *string, name, def, usage string, of ...string) {
	*v = def
	fs.Var(choice{v, of}, name, usage)
}

func addrPortVar(fs *pflag.FlagSet, v *netip.AddrPort, name, def, usage string) {
	if def != "" {
		*v = netip.MustParseAddrPort(def)
	}
	fs.Var(addrPort{v}, name, usage)
}

// poolFlags are what every member of the pool takes.
type poolFlags struct {
	gossip, advertise netip.AddrPort
	join              []string
	fleet, keyFile    string
	profile           gossip.Profile
}

func (p *poolFlags) add(fs *pflag.FlagSet, gossipDefault string, join []string) {
	addrPortVar(fs, &p.gossip, "gossip", gossipDefault, "address to gossip on; port 0 picks one")
	addrPortVar(fs, &p.advertise, "advertise", "", "gossip address told to the others, when it is not --gossip")
	fs.StringSliceVar(&p.join, "join", join, "seeds of the pool, as host[:port], comma-separated or repeated; port 7946 unless given")
	fs.StringVar(&p.fleet, "fleet", "rollcall", "name of the fleet; pools of another name are not joined")
	p.profile = gossip.LAN
	fs.Var(profileFlag{&p.profile}, "profile", "how fast gossip sees a crash, and at what cost: lan, wan or fast")
	fs.StringVar(&p.keyFile, "gossip-key-file", "", "file with the pool's encryption key (rollcall keygen gossip)")
}

// check finds what is wrong with the flags, with bind as the address to gossip at; an
// invalid one is chosen later.
func (p *poolFlags) check(bind netip.AddrPort) error {
	if !bind.IsValid() {
		bind = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0)
	}
	err := gossip.Options{Fleet: p.fleet, Bind: bind, Advertise: p.advertise, Seeds: p.join, Profile: p.profile}.Check()
	if err != nil {
		return usageError{err}
	}
	return nil
}

func (p *poolFlags) keys() ([][]byte, error) {
	if p.keyFile == "" {
		return nil, nil
	}
	keys, err := gossip.ReadKeyFile(p.keyFile)
	if err != nil {
		return nil, usageError{err}
	}
	return keys, nil
}

// shutdownTimeoutVar adds the flag that bounds how long what is still in use may take
// to end.
func shutdownTimeoutVar(fs *pflag.FlagSet, v *time.Duration, def time.Duration, usage string) {
	*v = def
	fs.Var(positive{v}, "shutdown-timeout", usage)
}

// positive is a flag that takes a duration above 0.
type positive struct{ v *time.Duration }

func (p positive) Set(s string) error {
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return fmt.Errorf("%q is not a duration above 0, such as 500ms or 10s", s)
	}
	*p.v = d
	return nil
}

func (p positive) Type() string { return "timeout" }
func (p positive) String() string {
	if p.v == nil {
		return ""
	}
	return p.v.String()
}

// former is a flag by its former name, of which the present one is of; what is given
// by the present name counts.
type former struct {
	positive
	fs *pflag.FlagSet
	of string
}

func (f former) Set(s string) error {
	if f.fs.Changed(f.of) {
		return nil
	}
	if err := f.positive.Set(s); err != nil {
		return err
	}
	f.fs.Lookup(f.of).Changed = true
	return nil
}

// required returns a usage error that names the first flag that was not given.
func required(fs *pflag.FlagSet, names ...string) error {
	for _, name := range names {
		if !fs.Changed(name) {
			return usageError{fmt.Errorf("--%s is missing", name)}
		}
	}
	return nil
}

// serviceFlags say what an upstream serves.
func serviceFlags(fs *pflag.FlagSet, svc *upstream.Service, name string) {
	fs.StringVar(&svc.Name, "service", name, "name of the service")
	fs.Uint32Var(&svc.Weight, "weight", fleet.DefaultWeight, "load balancing weight, 1 to 65535")
	fs.StringVar(&svc.Region, "region", "", "region it runs in")
	fs.StringVar(&svc.Zone, "az", "", "availability zone it runs in")
	fs.BoolVar(&svc.Canary, "canary", false, "mark it as a canary")
	fs.StringToStringVar(&svc.Tags, "tag", nil, "further tags, as key=value, for subset load balancing")
}
