package main

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/spf13/pflag"

	"github.com/rollcall-fleet/rollcall/cmd/rollcall/cli"
	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip"
	"github.com/rollcall-fleet/rollcall/internal/option"
	"github.com/rollcall-fleet/rollcall/upstream"
)

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

// poolFlags are what every member of the pool takes.
type poolFlags struct {
	gossip, advertise netip.AddrPort
	join              []string
	fleet, keyFile    string
	profile           gossip.Profile
}

func (p *poolFlags) add(fs *pflag.FlagSet, gossipDefault string, join []string) {
	cli.AddrPortVar(fs, &p.gossip, "gossip", gossipDefault, "address to gossip on; port 0 picks one")
	cli.AddrPortVar(fs, &p.advertise, "advertise", "", "gossip address told to the others, when it is not --gossip")
	fs.StringSliceVar(&p.join, "join", join, "seeds of the pool, as host[:port], comma-separated or repeated; port 7946 unless given")
	fs.StringVar(&p.fleet, "fleet", "rollcall", "name of the fleet; pools of another name are not joined")
	p.profile = gossip.LAN
	fs.Var(profileFlag{&p.profile}, "profile", "how fast gossip sees a crash, and at what cost: lan, wan or fast")
	cli.FileVar(fs, &p.keyFile, "gossip-key-file", "file with the pool's encryption key (rollcall keygen gossip)", cli.Secret)
}

// check finds what is wrong with the flags, with bind as the address to gossip at; an
// invalid one is chosen later.
func (p *poolFlags) check(bind netip.AddrPort) error {
	if !bind.IsValid() {
		bind = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0)
	}
	err := gossip.Options{Fleet: p.fleet, Bind: bind, Advertise: p.advertise, Seeds: p.join, Profile: p.profile}.Check()
	if err != nil {
		return cli.Usage(option.Rename(err, poolOptions))
	}
	return nil
}

// poolOptions are the flags by the options that they set.
var poolOptions = map[string]string{"Bind": "--gossip", "Advertise": "--advertise", "WithGossip": "--gossip", "WithGossipAdvertise": "--advertise"}

func (p *poolFlags) keys() ([][]byte, error) {
	if p.keyFile == "" {
		return nil, nil
	}
	keys, err := gossip.ReadKeyFile(p.keyFile)
	if err != nil {
		return nil, cli.Usage(err)
	}
	return keys, nil
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

// ownFlags are the tags that are said with a flag of their own.
var ownFlags = map[string]string{"az": "az", "region": "region", "canary": "canary", "load_balancing_weight": "weight"}

// checkService finds what is wrong with the flags of serviceFlags.
func checkService(svc upstream.Service) error {
	for _, tag := range slices.Sorted(maps.Keys(svc.Tags)) {
		if flag, own := ownFlags[tag]; own {
			return cli.Usage(fmt.Errorf("--tag %s=%s: pass --%s instead", tag, svc.Tags[tag], flag))
		}
	}
	if err := fleet.CheckService(svc.Name); err != nil {
		return cli.Usage(fmt.Errorf("--service: %w", err))
	}
	if err := fleet.CheckWeight(svc.Weight); err != nil {
		return cli.Usage(fmt.Errorf("--weight: %w", err))
	}
	if err := fleet.CheckTags(svc.Tags); err != nil {
		return cli.Usage(fmt.Errorf("--tag: %w", err))
	}
	if err := errors.Join(fleet.CheckText("--region", svc.Region), fleet.CheckText("--az", svc.Zone)); err != nil {
		return cli.Usage(err)
	}
	return nil
}
