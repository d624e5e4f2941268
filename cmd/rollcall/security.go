package main

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/rollcall-fleet/rollcall/cmd/rollcall/cli"
	"github.com/rollcall-fleet/rollcall/internal/exposure"
)

// endsSoon is how long before its end a certificate is reported.
const endsSoon = 30 * 24 * time.Hour

func newSecurity() *cobra.Command {
	c := &cobra.Command{
		Use:     "security",
		Short:   "Look at how a process is, or would be, locked",
		Example: "  rollcall security check eds --http 10.0.0.5:8080",
		Args:    cli.NoArgs,
		RunE:    cli.Help,
	}
	c.AddCommand(newSecurityCheck())
	return c
}

func newSecurityCheck() *cobra.Command {
	var pid int
	c := &cobra.Command{
		Use:   "check [VERB [FLAG]...]",
		Short: "Say what is open, not locked, readable by others, or about to expire",
		Long: `Looks at the flags of a verb as it would be started, with the variables of the
environment, or at those of a process that runs. It opens nothing and changes nothing. It
says which addresses other machines can reach without a lock, which locks are not used,
which files others can read or write, and which certificates end within 30 days. The exit
code is 1 if there is anything.`,
		Example: `  rollcall security check eds --http 10.0.0.5:8080 --xds 10.0.0.5:18000 --gossip-key-file gossip.key
  rollcall security check --pid 4711`,
		Args: cobra.ArbitraryArgs,
		RunE: func(c *cobra.Command, args []string) error {
			getenv := os.Getenv
			if pid != 0 {
				if len(args) > 0 {
					return cli.Usage(errors.New("--pid and a verb are two questions: ask one"))
				}
				var err error
				if args, getenv, err = startedWith(pid); err != nil {
					return err
				}
			}
			verb, err := planned(args, getenv)
			if err != nil {
				return err
			}
			s := &scan{flags: verb.Flags(), verb: verb.Name(), now: time.Now()}
			s.all()
			for _, line := range s.found {
				fmt.Fprintln(c.OutOrStdout(), line)
			}
			if n := len(s.found); n > 0 {
				return fmt.Errorf("%d findings for rollcall %s", n, s.verb)
			}
			fmt.Fprintf(c.OutOrStdout(), "rollcall %s: nothing to say of %d addresses, %d files and %d certificates\n", s.verb, s.addresses, s.files, s.certs)
			return nil
		},
	}
	c.Flags().SetInterspersed(false)
	c.Flags().IntVar(&pid, "pid", 0, "process id of a rollcall that runs, in place of a verb")
	return c
}

// startedWith is how a process was started.
func startedWith(pid int) (args []string, getenv func(string) string, err error) {
	read := func(name string) []string {
		b, e := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, name))
		err = errors.Join(err, e)
		return strings.Split(strings.TrimRight(string(b), "\x00"), "\x00")
	}
	command, environment := read("cmdline"), read("environ")
	if err != nil || len(command) < 2 {
		return nil, nil, errors.Join(fmt.Errorf("process %d is not one of rollcall's that can be looked at", pid), err)
	}
	return command[1:], func(name string) string {
		for _, v := range environment {
			if value, ok := strings.CutPrefix(v, name+"="); ok {
				return value
			}
		}
		return ""
	}, nil
}

// planned is the verb that args call, with its flags set.
func planned(args []string, getenv func(string) string) (*cobra.Command, error) {
	root := newRoot()
	verb, rest, err := root.Find(args)
	if err != nil || verb == root || verb.Annotations == nil {
		return nil, cli.Usage(errors.New("give a verb that serves, such as eds, upstream, run, register or envoy run, and its flags"))
	}
	if err := verb.ParseFlags(rest); err != nil {
		return nil, cli.FlagError(verb, err)
	}
	return verb, cli.EnvironmentOf(verb, getenv)
}

// scan looks at the flags of a verb.
type scan struct {
	flags *pflag.FlagSet
	verb  string
	now   time.Time

	found                   []string
	addresses, files, certs int
}

func (s *scan) say(format string, args ...any) {
	s.found = append(s.found, fmt.Sprintf(format, args...))
}

// value is that of a flag; "" where the verb has none.
func (s *scan) value(flag string) string {
	if f := s.flags.Lookup(flag); f != nil {
		return f.Value.String()
	}
	return ""
}

func (s *scan) has(flag string) bool { return s.flags.Lookup(flag) != nil }

func (s *scan) all() {
	open := s.open()
	if open {
		s.unlocked()
	}
	for _, f := range cli.Files(s.flags) {
		s.file(f)
		if f.Kind == cli.Certificate {
			s.certificates(f)
		}
	}
}

// open says which addresses have no lock, and reports whether other machines reach any.
func (s *scan) open() (reached bool) {
	gossip := s.value("gossip-key-file") != ""
	for _, a := range []struct {
		flag, lock string
		locked     bool
	}{
		{"http", lockHTTP, httpLocked(s.value("http-cert"), s.value("http-tokens"), s.value("http-client-ca"))},
		{"xds", lockXDS, s.value("xds-client-ca") != ""},
		{"gossip", lockGossip, gossip}, {"advertise", lockGossip, gossip},
		{"admin", lockAdmin, false},
	} {
		addr, err := netip.ParseAddrPort(s.value(a.flag))
		if err != nil {
			continue
		}
		s.addresses++
		reached = reached || !addr.Addr().Unmap().IsLoopback()
		open, _ := exposure.Check(true, exposure.Address{Flag: "--" + a.flag, Addr: addr.Addr(), Locked: a.locked, Lock: a.lock})
		for _, o := range open {
			s.say("open: %s %s can be reached from other machines and nothing locks it: pass %s", o.Flag, o.Addr, o.Lock)
		}
	}
	ip, err := netip.ParseAddr(s.value("address"))
	return reached || err == nil && !ip.IsLoopback()
}

// unlocked says which further locks a process that others reach does not use.
func (s *scan) unlocked() {
	for _, l := range []struct{ flag, without string }{
		{"eds-key", "any member that has the gossip key can say that it is an EDS server: rollcall keygen eds"},
		{"service-keys", "every service may be served by any member: rollcall keygen service NAME"},
		{"xds-policy", "every Envoy reads every service"},
		{"eds-pub", "any member is taken for an EDS server that says so: rollcall keygen eds"},
		{"allow-cidr", "members may gossip from anywhere"},
	} {
		if s.has(l.flag) && (s.value(l.flag) == "" || s.value(l.flag) == "[]") {
			s.say("not locked: without --%s %s", l.flag, l.without)
		}
	}
}

// file says who else may read or write a file.
func (s *scan) file(f cli.File) {
	info, err := os.Stat(f.Path)
	if err != nil {
		s.say("file: %s: %v", f.Flag, err)
		return
	}
	s.files++
	group, everyone := f.Open(info.Mode())
	for _, o := range []struct {
		who string
		can cli.Access
	}{{"its group", group}, {"every user", everyone}} {
		switch {
		case o.can.Write:
			s.say("file: %s %s (mode %04o) can be written by %s", f.Flag, f.Path, info.Mode().Perm(), o.who)
		case o.can.Read:
			s.say("file: %s %s (mode %04o) is a secret and can be read by %s", f.Flag, f.Path, info.Mode().Perm(), o.who)
		}
	}
}

// certificates says which of a file's end soon.
func (s *scan) certificates(f cli.File) {
	b, err := os.ReadFile(f.Path)
	if err != nil {
		return // said already
	}
	for block, rest := pem.Decode(bytes.TrimSpace(b)); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if block.Type != "CERTIFICATE" || err != nil {
			continue
		}
		s.certs++
		switch left := cert.NotAfter.Sub(s.now); {
		case left < 0:
			s.say("certificate: %q in %s %s ended on %s", cert.Subject.CommonName, f.Flag, f.Path, cert.NotAfter.Format(time.DateOnly))
		case left < endsSoon:
			s.say("certificate: %q in %s %s ends on %s, in %d days", cert.Subject.CommonName, f.Flag, f.Path, cert.NotAfter.Format(time.DateOnly), int(left.Hours()/24))
		}
	}
}
