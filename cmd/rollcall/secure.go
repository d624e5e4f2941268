package main

import (
	"log/slog"
	"net/netip"

	"github.com/spf13/pflag"

	"github.com/rollcall-fleet/rollcall/certs"
	"github.com/rollcall-fleet/rollcall/eds"
	"github.com/rollcall-fleet/rollcall/exposure"
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
		return nil, usageError{err}
	}
	return exposure.Warn(logger, open), nil
}

// gossipAddresses are the addresses of a member of the pool. serves is the IP
// address that it gossips at unless it is told another.
func gossipAddresses(p *poolFlags, serves netip.Addr) []exposure.Address {
	locked := p.keyFile != ""
	gossip := p.gossip.Addr()
	if !gossip.IsValid() {
		gossip = serves
	}
	return []exposure.Address{
		{Flag: "--gossip", Addr: gossip, Locked: locked, Lock: lockGossip},
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
	certFlags(fs, &a.access.HTTP, "http", "the HTTP port")
	certFlags(fs, &a.access.XDS, "xds", "the gRPC port")
}

func certFlags(fs *pflag.FlagSet, f *certs.Files, port, what string) {
	fs.StringVar(&f.Cert, port+"-cert", "", "PEM certificate chain of "+what+"; read again when it changes")
	fs.StringVar(&f.Key, port+"-key", "", "PEM key of --"+port+"-cert")
	fs.StringVar(&f.ClientCA, port+"-client-ca", "", "PEM certificates of those who sign the certificates of clients of "+what)
}

// apply checks the flags, and the addresses that opts open.
func (a *accessFlags) apply(opts *eds.Options, pool *poolFlags) (stop func(), err error) {
	for port, files := range map[string]certs.Files{"http": a.access.HTTP, "xds": a.access.XDS} {
		if err := files.Check(port); err != nil {
			return nil, usageError{err}
		}
	}
	opts.Access = a.access
	return a.insecure.check(opts.Logger, append(gossipAddresses(pool, netip.Addr{}),
		exposure.Address{Flag: "--http", Addr: opts.HTTP.Addr(), Locked: a.httpLocked(), Lock: lockHTTP},
		exposure.Address{Flag: "--xds", Addr: opts.XDS.Addr(), Locked: a.access.XDS.ClientCA != "", Lock: lockXDS},
	)...)
}

func (a *accessFlags) httpLocked() bool { return a.access.HTTP.ClientCA != "" }
