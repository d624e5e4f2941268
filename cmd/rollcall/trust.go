package main

import (
	"fmt"
	"net/netip"

	"github.com/spf13/pflag"

	"github.com/rollcall-fleet/rollcall/cmd/rollcall/cli"
	"github.com/rollcall-fleet/rollcall/eds"
	"github.com/rollcall-fleet/rollcall/gossip"
	"github.com/rollcall-fleet/rollcall/internal/keyfile"
	"github.com/rollcall-fleet/rollcall/upstream"
)

// prefixes is a flag that takes networks.
type prefixes struct{ v *[]netip.Prefix }

func (p prefixes) Set(s string) error {
	v, err := netip.ParsePrefix(s)
	if err != nil {
		ip, ipErr := netip.ParseAddr(s)
		if ipErr != nil {
			return fmt.Errorf("%q is not a network, such as 10.0.0.0/8", s)
		}
		v = netip.PrefixFrom(ip, ip.BitLen())
	}
	*p.v = append(*p.v, v)
	return nil
}

func (p prefixes) Type() string { return "cidr" }
func (p prefixes) String() string {
	if p.v == nil || len(*p.v) == 0 {
		return ""
	}
	return fmt.Sprint(*p.v)
}

// boundsFlags say who may be a member.
func boundsFlags(fs *pflag.FlagSet, b *gossip.Bounds) {
	byDefault := gossip.Bounds{}.WithDefaults()
	fs.Var(prefixes{&b.AllowCIDRs}, "allow-cidr", "network that members may gossip from, repeated for several; none: any")
	fs.IntVar(&b.MaxMembers, "max-members", byDefault.MaxMembers, "the most live members, and the most new ones in a minute")
	fs.IntVar(&b.MaxMembersPerAddr, "max-members-per-address", byDefault.MaxMembersPerAddr, "the most live members that gossip at one IP address, or in one IPv6 network of 64 bits")
	fs.IntVar(&b.MaxConnections, "max-gossip-connections", byDefault.MaxConnections, "the most open connections to the gossip port; further ones wait")
	fs.Int64Var(&b.MaxBytes, "max-gossip-bytes", byDefault.MaxBytes, "the most bytes of messages that are read at the gossip port at once; further ones wait")
}

func edsPublicFlag(fs *pflag.FlagSet, path *string) {
	cli.FileVar(fs, path, "eds-pub", "file with the public keys of the EDS servers (rollcall keygen eds); nobody else is taken for one", cli.Plain)
}

// edsTrust are an EDS server's flags of whom to believe.
type edsTrust struct {
	t           eds.Trust
	key, public string
}

func (e *edsTrust) add(fs *pflag.FlagSet) {
	byDefault := eds.DefaultOptions().Trust
	boundsFlags(fs, &e.t.Bounds)
	fs.Var(prefixes{&e.t.AllowAddresses}, "allow-address", "network where endpoints may be that another machine registers, repeated for several")
	cli.FileVar(fs, &e.t.ServiceKeys, "service-keys", "file with the public keys of services that belong to somebody (rollcall keygen service NAME); read again when it changes", cli.Plain)
	cli.FileVar(fs, &e.key, "eds-key", "file with the private key of the EDS servers (rollcall keygen eds), alike on all of them", cli.Secret)
	edsPublicFlag(fs, &e.public)
	fs.IntVar(&e.t.MaxServices, "max-services", byDefault.MaxServices, "the most services that members may bring")
	fs.IntVar(&e.t.MaxEndpoints, "max-endpoints", byDefault.MaxEndpoints, "the most live endpoints of a service")
}

func (e *edsTrust) trust() (eds.Trust, error) {
	t := e.t
	for name, n := range map[string]int{
		"max-members": t.Bounds.MaxMembers, "max-members-per-address": t.Bounds.MaxMembersPerAddr, "max-gossip-connections": t.Bounds.MaxConnections,
		"max-services": t.MaxServices, "max-endpoints": t.MaxEndpoints,
	} {
		if n < 1 {
			return t, cli.Usage(fmt.Errorf("--%s is %d, give 1 or more", name, n))
		}
	}
	var err error
	if e.key != "" {
		if t.EDSKey, err = keyfile.ReadEDS(e.key); err != nil {
			return t, cli.Usage(err)
		}
	}
	if e.public != "" {
		if t.EDSPublic, err = keyfile.ReadEDSPublic(e.public); err != nil {
			return t, cli.Usage(err)
		}
	}
	if t.EDSKey == nil && len(t.EDSPublic) > 0 {
		return t, cli.Usage(fmt.Errorf("--eds-pub without --eds-key: the members would not take this server for an EDS server, pass --eds-key too"))
	}
	return t, nil
}

// memberTrust are an upstream's flags of what it proves and whom it believes.
type memberTrust struct {
	bounds             gossip.Bounds
	serviceKey, public string
}

func (m *memberTrust) add(fs *pflag.FlagSet) {
	boundsFlags(fs, &m.bounds)
	cli.FileVar(fs, &m.serviceKey, "service-key", "file with the private key of the service (rollcall keygen service NAME)", cli.Secret)
	edsPublicFlag(fs, &m.public)
}

// options are m as options of a registration of service.
func (m *memberTrust) options(service, gossipKeyFile string) ([]upstream.Option, error) {
	opts := []upstream.Option{upstream.WithBounds(m.bounds), upstream.WithKeyFile(gossipKeyFile)}
	if m.serviceKey != "" {
		name, key, err := keyfile.ReadService(m.serviceKey)
		if err != nil {
			return nil, cli.Usage(err)
		}
		if name != service {
			return nil, cli.Usage(fmt.Errorf("--service-key %s is the key of service %q, not of %q", m.serviceKey, name, service))
		}
		opts = append(opts, upstream.WithServiceKey(key))
	}
	if m.public != "" {
		keys, err := keyfile.ReadEDSPublic(m.public)
		if err != nil {
			return nil, cli.Usage(err)
		}
		opts = append(opts, upstream.WithEDSKeys(keys...))
	}
	return opts, nil
}
