package gossip

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/netip"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/memberlist"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip/internal/link"
)

// The defaults of a pool.
const (
	DefaultFleet = "rollcall"
	DefaultPort  = 7946 // of a seed that names none
)

// Options says how to join the pool.
type Options struct {
	// Member is what this process announces; its ID is its name in the pool and
	// must be new at each start, since memberlist ignores a restart under a name
	// that it still holds to be alive elsewhere. Its announcements count on from its
	// Revision, at least from 1.
	Member fleet.Member

	// Fleet is the label on every packet: members with another one are not let in.
	// At most 255 bytes; default DefaultFleet.
	Fleet string

	Bind      netip.AddrPort // listened at, TCP and UDP; port 0 picks one
	Advertise netip.AddrPort // where others reach this process; zero: Bind; port 0: the bound port

	// Seeds are tried for as long as the pool is open: host, host:port, ip, ip:port
	// or [ip6]:port. Host names are resolved again in each round.
	Seeds []string

	// Remembered are members known from before a restart. They are tried like
	// seeds until a member was joined.
	Remembered []netip.AddrPort

	// Keys encrypt the gossip: 16, 24 or 32 bytes each, the first is sent with, all
	// are accepted. None: no encryption.
	Keys [][]byte

	// Shared takes what another EDS server sent by Share. memberlist calls it from
	// several goroutines; it must not block, and may keep the bytes. nil: none is taken.
	Shared func(from *fleet.Member, b []byte)

	// KeyFile is where Keys come from. It is written when they are rotated; "": a
	// restart brings the old ones back.
	KeyFile string

	// SigningKey signs what this member announces, and in an EDS server what it tells
	// others: the key of its service, or that of the EDS servers. Nil: no signature.
	SigningKey ed25519.PrivateKey

	// EDSKeys are the EDS servers' public keys: no other member is taken for one, or believed
	// what only they may say, without a signature by one of these. None: anybody is.
	EDSKeys []ed25519.PublicKey

	Bounds // of the pool as this member sees it

	Profile Profile // of timers; default LAN

	Panicked  func(where string)   // called for each panic that a message caused; nil: not counted
	Logger    *slog.Logger         // nil: slog.Default
	Transport memberlist.Transport // nil: sockets at Bind
}

// Check returns an error when Start would refuse o with any member.
func (o Options) Check() error {
	o.Member = fleet.Member{ID: uuid.New(), Role: fleet.RoleEDS, Started: time.Now(), Version: fleet.FormatVersion}
	if _, err := o.prepare(); err != nil {
		return err
	}
	_, err := parseSeeds(o.Seeds)
	return err
}

// prepare checks o, fills in defaults, and returns the metadata to start with.
func (o *Options) prepare() ([]byte, error) {
	if o.Fleet == "" {
		o.Fleet = DefaultFleet
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Member.ID == uuid.Nil {
		return nil, errors.New("member has no id")
	}
	o.Member.Revision = max(o.Member.Revision, 1)
	if len(o.Fleet) > memberlist.LabelMaxSize {
		return nil, fmt.Errorf("fleet name is %d bytes long, at most %d are allowed", len(o.Fleet), memberlist.LabelMaxSize)
	}
	for i, k := range o.Keys {
		if err := memberlist.ValidateKey(k); err != nil {
			return nil, fmt.Errorf("key %d is %d bytes long, give 16, 24 or 32", i+1, len(k))
		}
	}
	if err := o.checkAddresses(); err != nil {
		return nil, err
	}
	var err error
	if o.Profile, err = ParseProfile(string(o.Profile)); err != nil {
		return nil, err
	}
	if err := o.Bounds.prepare(); err != nil {
		return nil, err
	}
	return o.encode(o.Member)
}

// checkAddresses refuses what others could not reach this process at.
func (o *Options) checkAddresses() error {
	if !o.Bind.IsValid() {
		return errors.New("no address to listen at: set option Bind to an IP:PORT")
	}
	name, addr := "option Advertise", o.Advertise
	if !addr.IsValid() {
		name, addr = "option Bind", o.Bind
	}
	if addr.Addr().IsUnspecified() {
		return fmt.Errorf("%s %s means every interface, which other members cannot reach: set option Advertise to the address that they can reach, or option Bind to listen at that one only", name, addr)
	}
	port := addr.Port()
	if port == 0 {
		port = DefaultPort // the real one is known later
	}
	if err := fleet.CheckAddr(netip.AddrPortFrom(addr.Addr(), port)); err != nil {
		return fmt.Errorf("%s %s: %w", name, addr, err)
	}
	return nil
}

// create binds and starts memberlist for p.
func (o *Options) create(p *Pool, logger *log.Logger) (*memberlist.Memberlist, error) {
	port, transport := o.Bind.Port(), o.Transport
	if transport == nil {
		s, err := listen(p.ctx, o.Bind, logger)
		if err != nil {
			return nil, err
		}
		port, transport = s.port(), s
	}
	p.transport = transport
	conf := o.Profile.Config()
	conf.Name = p.id.String()
	conf.Label = o.Fleet
	conf.Logger = logger
	conf.Delegate, conf.Events, conf.Conflict, conf.Alive = p.delegate, p.members, p.members, p.members
	p.probeTimeout = conf.ProbeTimeout
	advertise := o.advertise(port)
	conf.CIDRsAllowed = o.cidrs(advertise.Addr())
	conf.AdvertiseAddr, conf.AdvertisePort = advertise.Addr().String(), int(advertise.Port())
	var err error
	if len(o.Keys) > 0 {
		conf.Keyring, err = memberlist.NewKeyring(o.Keys, o.Keys[0])
	}
	p.keyring = newKeyring(conf.Keyring, o.KeyFile, o.Logger)
	p.links = newLinks(o.identity(conf.Keyring))
	p.sorted = newSorter(transport, sorterOptions{
		links: p.acceptLink, refused: func() { p.counts.connections.Add(1) }, log: o.Logger, conns: o.MaxConnections, bytes: o.MaxBytes,
	})
	conf.Transport = p.sorted
	var list *memberlist.Memberlist
	if err == nil {
		list, err = memberlist.Create(conf)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start gossip on %s: %w", o.Bind, err), p.sorted.Shutdown())
	}
	return list, nil
}

// identity is who this process is in links.
func (o *Options) identity(ring *memberlist.Keyring) link.Identity {
	i := link.Identity{Fleet: o.Fleet, ID: o.Member.ID, Trust: o.EDSKeys, Keys: func() [][]byte {
		if ring == nil {
			return nil
		}
		return ring.GetKeys()
	}}
	if o.Member.Role == fleet.RoleEDS {
		i.Sign = o.SigningKey
	}
	return i
}

// advertise is the address to announce, given the bound port.
func (o *Options) advertise(port uint16) netip.AddrPort {
	addr := o.Advertise
	if !addr.IsValid() {
		addr = o.Bind
	}
	if addr.Port() == 0 {
		addr = netip.AddrPortFrom(addr.Addr(), port)
	}
	return addr
}
