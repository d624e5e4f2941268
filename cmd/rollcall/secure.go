package main

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"

	"github.com/spf13/pflag"

	"github.com/rollcall-fleet/rollcall/cmd/rollcall/cli"
	"github.com/rollcall-fleet/rollcall/eds"
	"github.com/rollcall-fleet/rollcall/internal/certs"
	"github.com/rollcall-fleet/rollcall/internal/exposure"
)

// What to pass to lock an address.
const (
	lockGossip = "--gossip-key-file FILE (rollcall keygen gossip makes one)"
	lockXDS    = "--xds-cert FILE --xds-key FILE --xds-client-ca FILE (rollcall certs init makes some for trying it out)"
	lockHTTP   = "--http-cert FILE --http-key FILE with --http-tokens FILE (rollcall keygen token) or --http-client-ca FILE"
)

// insecureFlag is on every verb that opens an address.
type insecureFlag struct{ on bool }

func (i *insecureFlag) add(fs *pflag.FlagSet) {
	fs.BoolVar(&i.on, "insecure", false, "open addresses that other machines can reach without a lock")
}

// check refuses addresses that are open to other machines. What is open on purpose
// is logged until stop is called.
func (i *insecureFlag) check(logger *slog.Logger, addrs ...exposure.Address) (stop func(), err error) {
	open, err := exposure.Check(i.on, addrs...)
	if err != nil {
		return nil, cli.Usage(err)
	}
	return exposure.Warn(logger, open), nil
}

// gossipAddresses are the addresses of a member of the pool. serves is the IP
// address that it gossips at by default.
func gossipAddresses(p *poolFlags, serves netip.Addr) []exposure.Address {
	locked := p.keyFile != ""
	flag, gossip := "--gossip", p.gossip.Addr()
	if !gossip.IsValid() {
		flag, gossip = "--gossip (by default)", serves
	}
	return []exposure.Address{
		{Flag: flag, Addr: gossip, Locked: locked, Lock: lockGossip},
		{Flag: "--advertise", Addr: p.advertise.Addr(), Locked: locked, Lock: lockGossip},
	}
}

// accessFlags say who gets in at the ports of an EDS server.
type accessFlags struct {
	insecure insecureFlag
	access   eds.Access
}

func (a *accessFlags) add(fs *pflag.FlagSet) {
	a.insecure.add(fs)
	x, byDefault := &a.access, eds.DefaultOptions().Access
	cli.FileVar(fs, &x.Tokens, "http-tokens", "file of bearer tokens for the HTTP port (rollcall keygen token); read again when it changes", cli.Plain)
	fs.StringSliceVar(&x.Operators, "http-operators", nil, "SPIFFE ids or common names of client certificates that may decide")
	fs.StringSliceVar(&x.Viewers, "http-viewers", nil, "SPIFFE ids or common names of client certificates that may read")
	fs.StringSliceVar(&x.Hosts, "http-host", nil, "further names at which the HTTP port is asked, beside loopback names and --http; * for any")
	fs.IntVar(&x.Rate, "http-rate", byDefault.Rate, "requests a second of one address, but for discovery; 0: no limit")
	fs.IntVar(&x.DiscoveryRate, "http-discovery-rate", byDefault.DiscoveryRate, "discovery requests a second of one address; 0: no limit")
	fs.IntVar(&x.Connections, "max-connections", byDefault.Connections, "most connections of one address at a time, at each of --http and --xds")
	cli.FileVar(fs, &x.Policy, "xds-policy", "YAML file of the services that each Envoy may read, by certificate or node id, such as envoy-1: [payments, users]; read again when it changes", cli.Plain)
	fs.IntVar(&x.Clients, "xds-max-clients", byDefault.Clients, "most streams and polling clients at a time")
	fs.IntVar(&x.Streams, "xds-max-streams", byDefault.Streams, "most streams of one connection; further ones wait")
	fs.IntVar(&x.Names, "xds-max-names", byDefault.Names, "most services in one stream's subscription")
	fs.IntVar(&x.NameBytes, "xds-max-name-bytes", byDefault.NameBytes, "most bytes of their names")
	fs.Int64Var(&x.RequestBytes, "max-request-bytes", byDefault.RequestBytes, "most bytes of discovery requests that are being read")
	fs.BoolVar(&x.CutExpired, "xds-cut-expired", false, "end the streams of clients whose certificate has expired, which are kept otherwise")
	fs.IntVar(&x.Overrides, "max-overrides", byDefault.Overrides, "most decisions of operators in force")
	fs.IntVar(&x.Readers, "max-event-readers", byDefault.Readers, "most readers of GET /events at a time")
	certFlags(fs, &a.access.HTTP, "http", "the HTTP port")
	certFlags(fs, &a.access.XDS, "xds", "the gRPC port")
}

func certFlags(fs *pflag.FlagSet, f *certs.Files, port, what string) {
	cli.FileVar(fs, &f.Cert, port+"-cert", "PEM certificate chain of "+what+"; read again when it changes", cli.Certificate)
	cli.FileVar(fs, &f.Key, port+"-key", "PEM key of --"+port+"-cert", cli.Secret)
	cli.FileVar(fs, &f.PeerCA, port+"-client-ca", "PEM certificates of those who sign the certificates of clients of "+what, cli.Certificate)
}

// apply checks the flags, and the addresses that opts open.
func (a *accessFlags) apply(opts *eds.Options, pool *poolFlags) (stop func(), err error) {
	for port, files := range map[string]certs.Files{"http": a.access.HTTP, "xds": a.access.XDS} {
		if err := files.Check(port); err != nil {
			return nil, cli.Usage(err)
		}
	}
	if err := a.checkLimits(); err != nil {
		return nil, cli.Usage(err)
	}
	opts.Access = a.access
	opts.Access.Rate, opts.Access.DiscoveryRate = orNone(a.access.Rate), orNone(a.access.DiscoveryRate)
	return a.insecure.check(opts.Logger, append(gossipAddresses(pool, netip.Addr{}),
		exposure.Address{Flag: "--http", Addr: opts.HTTP.Addr(), Locked: httpLocked(a.access.HTTP.Cert, a.access.Tokens, a.access.HTTP.PeerCA), Lock: lockHTTP},
		exposure.Address{Flag: "--xds", Addr: opts.XDS.Addr(), Locked: a.access.XDS.PeerCA != "", Lock: lockXDS},
	)...)
}

// httpLocked reports whether these files lock the HTTP port. TLS is needed too: without it
// everyone on the way can read a token.
func httpLocked(cert, tokens, clientCA string) bool {
	return cert != "" && (tokens != "" || clientCA != "")
}

// orNone is a limit as eds.Options have it, where 0 stands for the default.
func orNone[N int | float64](n N) N {
	if n == 0 {
		return -1
	}
	return n
}

func (a *accessFlags) checkLimits() error {
	for flag, n := range map[string]int{"http-rate": a.access.Rate, "http-discovery-rate": a.access.DiscoveryRate} {
		if n < 0 || n > 1_000_000 {
			return fmt.Errorf("--%s is %d, give 0 (no limit) to 1000000", flag, n)
		}
	}
	for flag, n := range map[string]int{"xds-max-clients": a.access.Clients, "xds-max-streams": a.access.Streams, "xds-max-names": a.access.Names,
		"max-overrides": a.access.Overrides, "max-event-readers": a.access.Readers, "max-connections": a.access.Connections} {
		if n < 1 || n > 1_000_000 {
			return fmt.Errorf("--%s is %d, give 1 to 1000000", flag, n)
		}
	}
	for flag, n := range map[string]int64{"xds-max-name-bytes": int64(a.access.NameBytes), "max-request-bytes": a.access.RequestBytes} {
		if n < 1<<16 || n > 1<<40 {
			return fmt.Errorf("--%s is %d, give 65536 (64 KiB) or more", flag, n)
		}
	}
	if a.access.HTTP.PeerCA == "" && len(a.access.Viewers)+len(a.access.Operators) > 0 {
		return errors.New("--http-viewers and --http-operators are about client certificates: pass --http-client-ca too")
	}
	return nil
}
