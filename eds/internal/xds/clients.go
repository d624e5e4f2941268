package xds

import (
	"crypto/sha256"
	"maps"
	"math"
	"net/netip"
	"sync"
	"time"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/internal/rates"
)

// The transports of a Client.
const (
	TransportEDS      = "eds"
	TransportDeltaEDS = "delta-eds"
	TransportADS      = "ads"
	TransportDeltaADS = "delta-ads"
	TransportREST     = "rest"
	TransportRESTv2   = "rest-v2"
)

// Client is one gRPC stream, or one node that polls over REST. An Envoy opens a
// stream for each of its EDS clusters unless it uses ADS.
type Client struct {
	Node      string // the node id that it sent; "" for none
	Transport string // one of the Transport constants
	Peer      string // ip:port of the stream, or of the latest poll
	Connected time.Time
	Seen      time.Time       // when it sent its latest request, or when a held poll was answered
	Services  []ClientService // what it asked for, sorted by name
	NACK      *NACK           // the last one on this stream; nil if there was none

	CertExpired time.Time // when its certificate ended; zero while it is good, or without one
}

// ClientService is how far a client is with one service.
type ClientService struct {
	Name  string
	Acked string // version of the assignment that it acknowledged last; "" for none
	Sent  string // version of the assignment that it was sent last; "" for none

	// AckedSeq is the push sequence number as of which Acked was current, by this
	// server's own count; 0 for none. A client whose AckedSeq is at least that of a
	// change has acknowledged that change.
	AckedSeq uint64

	// BehindSince is since when it has not acknowledged something that it was sent;
	// zero when it has acknowledged all.
	BehindSince time.Time
}

// NACK is a client's refusal of a response.
type NACK struct {
	Version string // of the response that was refused
	Detail  string // the client's reason, shortened
	At      time.Time
}

// The bounds of the table of clients.
const (
	maxNode     = 256              // bytes of a node id
	slowly      = 16               // how slowly a long interval is forgotten
	minPollLife = 60 * time.Second // a REST client without a poll for so long is gone,
	missedPolls = 3                // or, once it has polled for as long, comeBack after so many missed ones

	// One address may have half of all streams. It may be that of many Envoys, each with
	// a stream for each of a thousand clusters.
	streamShare     = 2
	minStreamsAHost = 16

	// Any peer that can send a request can appear as many REST clients.
	pollersShare    = 2  // one client in so many may poll, so that there is room for streams
	hostShare       = 10 // and one in so many from one address,
	minPollersAHost = 16
	maxHostNames    = 16 << 20 // bytes of all their names
)

// pollShare is what the REST clients of an address have.
type pollShare struct{ pollers, bytes int }

// client is one row. Its identity never changes after the first request.
type client struct {
	transport string
	from      netip.Addr // its bounds count for this address
	acks      acks

	// Guarded by clients.mu.
	node      string
	peer      string
	connected time.Time
	seen      time.Time
	interval  time.Duration // from the end of a poll to the next one, on the long side; 0 for a stream
	held      int           // polls that are held now
	said      uint64        // digest of its last request
	lines     logLines      // of the log
	broke     time.Time     // when its stream broke; zero while it is open
	refused   bool          // it has answered with a NACK
	expired   time.Time     // when its certificate ended
}

// poller identifies a REST client. The address without the port is in it, so that
// two nodes that share an id do not acknowledge for each other.
type poller struct {
	transport, node, host string
	names                 [sha256.Size]byte // digest
	size                  int               // bytes of the names
}

// from is the address that a poller's connections count for.
func (p poller) from() netip.Addr {
	addr, _ := netip.ParseAddr(p.host) // all of those that have none share one allowance
	return fleet.Party(addr)
}

// clients is the table of all of them. Its methods may be called from any goroutine.
type clients struct {
	max   int
	names int // of one client, see acks

	mu      sync.Mutex
	streams map[*client]struct{}
	pollers map[poller]*client
	from    map[netip.Addr]int // streams of each address
	hosts   map[netip.Addr]pollShare
	held    map[netip.Addr]int // polls of each address that are held now
	broken  []*client          // streams that broke lately, oldest first
	logs    *rates.Table       // of lines in the log
	count   Count

	revision uint64 // grows with each client that connects, leaves, or sends a NACK
}

// Count is how many clients there are.
type Count struct {
	Transports map[string]int // by transport
	NACKing    int            // of them, those with a NACK
	Expired    int            // and those whose certificate has ended
}

func newClients(limit, names int) *clients {
	return &clients{max: limit, names: names, streams: make(map[*client]struct{}), pollers: make(map[poller]*client), from: make(map[netip.Addr]int), hosts: make(map[netip.Addr]pollShare), held: make(map[netip.Addr]int), logs: rates.New(addressLines, addressBurst),
		count: Count{Transports: make(map[string]int)}}
}

// counts is cheap, however many clients there are.
func (t *clients) counts(now time.Time) Count {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweep(now)
	return Count{Transports: maps.Clone(t.count.Transports), NACKing: t.count.NACKing, Expired: t.count.Expired}
}

// counted counts a client in, with n 1, or out, with -1. The caller holds mu.
func (t *clients) counted(c *client, n int) {
	t.revision++
	t.count.Transports[c.transport] += n
	if c.refused {
		t.count.NACKing += n
	}
	if !c.expired.IsZero() {
		t.count.Expired += n
	}
}

// open adds a stream; false when there are too many clients.
func (t *clients) open(transport, peer string, now time.Time) (*client, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	from := fleet.PartyOf(peer)
	if !t.room(now) || t.from[from] >= max(minStreamsAHost, t.max/streamShare) {
		return nil, false
	}
	c := &client{acks: acks{most: t.names}, transport: transport, from: from, peer: peer, connected: now, seen: now}
	t.streams[c] = struct{}{}
	t.from[from]++
	t.counted(c, 1)
	return c, true
}

// poll finds or adds the REST client behind a poll; false when there are too many.
func (t *clients) poll(key poller, peer string, now time.Time) (*client, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.pollers[key]
	if c != nil && !c.gone(now) {
		c.interval = max(now.Sub(c.seen), c.interval-c.interval/slowly) // several may poll as one, at the same time
		c.peer = peer
		return c, true
	}
	if c != nil {
		t.drop(key, c)
	}
	if !t.room(now) || !t.roomToPoll(key, now) {
		return nil, false
	}
	c = &client{acks: acks{most: t.names}, transport: key.transport, from: key.from(), peer: peer, connected: now, seen: now}
	t.pollers[key] = c
	t.share(key, 1)
	t.counted(c, 1)
	return c, true
}

// drop forgets a REST client. The caller holds mu.
func (t *clients) drop(key poller, c *client) {
	delete(t.pollers, key)
	t.share(key, -1)
	t.counted(c, -1)
}

// share counts a REST client of an address in, with n 1, or out, with -1. The caller holds
// mu.
func (t *clients) share(key poller, n int) {
	from := key.from()
	s := t.hosts[from]
	s.pollers, s.bytes = s.pollers+n, s.bytes+n*key.size
	if t.hosts[from] = s; s.pollers == 0 {
		delete(t.hosts, from)
	}
}

// heard notes a request. It returns r with what the table knows: who the client
// is, and whether the request only repeats the one before.
func (t *clients) heard(c *client, r request, now time.Time) request {
	said := r.digest()
	refuses := r.verdict == verdictNACK && !r.repeated
	t.mu.Lock()
	defer t.mu.Unlock()
	if refuses && !c.refused {
		t.counted(c, -1)
		c.refused = true
		t.counted(c, 1)
	}
	if refuses || r.node != "" && c.node == "" {
		t.revision++
	}
	if r.node != "" { // only the first request of a stream need name it
		c.node = shorten(r.node, maxNode)
	}
	r.node, r.peer, r.transport = c.node, c.peer, c.transport
	r.repeated = r.repeated || c.said == said
	c.seen, c.said = now, said
	if !r.repeated {
		r.silenced, r.leftOut = c.lines.spend(now)
	}
	if !r.repeated && !r.silenced {
		switch ok, leftOut := t.logs.Allow(c.from, now); {
		case ok:
			r.leftOut += leftOut
		default: // the address counts the line, those before it wait for the client's next
			c.lines.leftOut += r.leftOut
			r.silenced, r.leftOut = true, 0
		}
	}
	return r
}

// swept removes REST clients that are gone, and returns the revision of the rest.
func (t *clients) swept(now time.Time) uint64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweep(now)
	return t.revision
}

// acked returns for each of names the push sequence number as of which every
// stream that asked for it has acknowledged it: the highest number when none
// asked. It takes one walk over the streams, however many names there are.
func (t *clients) acked(names []string) map[string]uint64 {
	acked := make(map[string]uint64, len(names))
	for _, name := range names {
		acked[name] = math.MaxUint64
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.streams {
		c.acks.lower(acked)
	}
	return acked
}

// standings returns what each client of name has acknowledged. A stream that broke
// lately counts as one, until its node has opened another one.
func (t *clients) standings(name string) []clientSeq {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	var list []clientSeq
	here := make(map[string][]time.Time) // when the clients connected, by node; empty if no stream broke
	add := func(c *client) {
		seq, asked := c.acks.seq(name)
		if !asked {
			return
		}
		list = append(list, clientSeq{seq, c.node})
		if len(t.broken) > 0 {
			here[c.node] = append(here[c.node], c.connected)
		}
	}
	for c := range t.streams {
		add(c)
	}
	for _, c := range t.pollers {
		if !c.gone(now) {
			add(c)
		}
	}
	return append(list, t.away(name, here, now)...)
}

// room reports whether there is room for a client; if there is none, it first removes REST
// clients that are gone.
func (t *clients) room(now time.Time) bool {
	if len(t.streams)+len(t.pollers) >= t.max {
		t.sweep(now)
	}
	return len(t.streams)+len(t.pollers) < t.max
}

// roomToPoll is room among the REST clients, and among those from one address.
func (t *clients) roomToPoll(key poller, now time.Time) bool {
	all, each, from := max(1, t.max/pollersShare), max(minPollersAHost, t.max/hostShare), key.from()
	room := func() bool {
		s := t.hosts[from]
		return len(t.pollers) < all && s.pollers < each && s.bytes+key.size <= maxHostNames
	}
	if !room() {
		t.sweep(now)
	}
	return room()
}

func (t *clients) sweep(now time.Time) {
	for key, c := range t.pollers {
		if c.gone(now) {
			t.drop(key, c)
		}
	}
}

// gone reports whether a REST client has missed its polls. It continues to route by what
// it received last, so it is not gone while it may be between two polls, nor while it
// waits for an answer.
func (c *client) gone(now time.Time) bool {
	if c.held > 0 {
		return false
	}
	missed := missedPolls * c.interval
	if c.seen.Sub(c.connected) >= minPollLife {
		return now.Sub(c.seen) > missed+comeBack
	}
	return now.Sub(c.seen) > max(minPollLife, missed)
}
