package cli

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

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

// ChoiceVar adds a flag that takes one of some words.
func ChoiceVar(fs *pflag.FlagSet, v *string, name, def, usage string, of ...string) {
	*v = def
	fs.Var(choice{v, of}, name, usage)
}

// AddrPortVar adds a flag that takes ip:port; def is "" for none.
func AddrPortVar(fs *pflag.FlagSet, v *netip.AddrPort, name, def, usage string) {
	if def != "" {
		*v = netip.MustParseAddrPort(def)
	}
	fs.Var(addrPort{v}, name, usage)
}

// ShutdownTimeoutVar adds the flag that bounds how long what is still in use may take
// to end.
func ShutdownTimeoutVar(fs *pflag.FlagSet, v *time.Duration, def time.Duration, usage string) {
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

// Required returns a usage error that names the first flag that was not given.
func Required(fs *pflag.FlagSet, names ...string) error {
	for _, name := range names {
		if !fs.Changed(name) {
			return Usage(fmt.Errorf("--%s is missing", name))
		}
	}
	return nil
}

// IPVar adds a flag that takes an IP address.
func IPVar(fs *pflag.FlagSet, v *netip.Addr, name, usage string) { fs.Var(ipAddr{v}, name, usage) }

// FormerVar adds a flag by its former name; of is the present one, which counts where both
// are given.
func FormerVar(fs *pflag.FlagSet, v *time.Duration, name, of, usage string) {
	fs.Var(former{positive{v}, fs, of}, name, usage)
}
