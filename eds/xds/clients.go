package xds

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
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
	Node      string // its node id, as it says; "" when it gave none
	Transport string // one of the Transport constants
	Peer      string // ip:port of the stream, or of the latest poll
	Connected time.Time
	Seen      time.Time       // its latest request
	Services  []ClientService // what it asked for, sorted by name
	NACK      *NACK           // the last one on this stream; nil if there was none
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
	defaultMaxClients = 100_000
	maxNode           = 256 // bytes of a node id
	missedPolls       = 3   // after so many a REST client is gone,
	minPollLife       = 60 * time.Second
	comeBack          = 2 * time.Second // Envoy tries again half a second after its stream broke, then later
	maxBroken         = 10_000
)

// client is one row. Its identity never changes after the first request.
type client struct {
	transport string
	acks      acks

	// Guarded by clients.mu.
	node      string
	peer      string
	connected time.Time
	seen      time.Time
	interval  time.Duration // between polls, on the long side; 0 for a stream
	said      uint64        // digest of its last request
	broke     time.Time     // when its stream broke; zero while it is open
}

// poller tells REST clients apart. The address without the port is in it, so that
// two nodes that share an id do not acknowledge for each other.
type poller struct{ transport, node, host, names string }

// clients is the table of all of them. Its methods may be called from any goroutine.
type clients struct {
	max int

	mu      sync.Mutex
	streams map[*client]struct{}
	pollers map[poller]*client
	broken  []*client // streams that broke lately, oldest first
}

func newClients(limit int) *clients {
	return &clients{max: limit, streams: make(map[*client]struct{}), pollers: make(map[poller]*client)}
}

// open adds a stream; false when there are too many clients.
func (t *clients) open(transport, peer string, now time.Time) (*client, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.room(now) {
		return nil, false
	}
	c := &client{transport: transport, peer: peer, connected: now, seen: now}
	t.streams[c] = struct{}{}
	return c, true
}

// close removes a stream. One that broke may be of an Envoy that still routes by
// what it was told, and is about to come back: it counts for a while longer.
func (t *clients) close(c *client, broke bool, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.streams, c)
	t.broken = slices.DeleteFunc(t.broken, func(c *client) bool { return now.Sub(c.broke) >= comeBack })
	if broke && len(t.broken) < maxBroken {
		c.broke = now
		t.broken = append(t.broken, c)
	}
}

// poll finds or adds the REST client behind a poll; false when there are too many.
func (t *clients) poll(key poller, peer string, now time.Time) (*client, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.pollers[key]
	if c != nil && !c.gone(now) {
		c.interval = max(now.Sub(c.seen), (c.interval+now.Sub(c.seen))/2)
		c.peer = peer
		return c, true
	}
	if c == nil && !t.room(now) {
		return nil, false
	}
	c = &client{transport: key.transport, peer: peer, connected: now, seen: now}
	t.pollers[key] = c
	return c, true
}

// heard notes a request. It returns r with what the table knows: who the client
// is, and whether it only says again what it said last.
func (t *clients) heard(c *client, r request, now time.Time) request {
	said := r.digest()
	t.mu.Lock()
	defer t.mu.Unlock()
	if r.node != "" { // only the first request of a stream need name it
		c.node = shorten(r.node, maxNode)
	}
	r.node, r.peer, r.transport = c.node, c.peer, c.transport
	r.repeated = r.repeated || c.said == said
	c.seen, c.said = now, said
	return r
}

// list returns every client, sorted.
func (t *clients) list(now time.Time) []Client {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweep(now)
	list := make([]Client, 0, len(t.streams)+len(t.pollers))
	for c := range t.streams {
		list = append(list, c.view())
	}
	for _, c := range t.pollers {
		list = append(list, c.view())
	}
	slices.SortFunc(list, func(a, b Client) int {
		return cmp.Or(strings.Compare(a.Node, b.Node), strings.Compare(a.Transport, b.Transport),
			a.Connected.Compare(b.Connected), strings.Compare(a.Peer, b.Peer))
	})
	return list
}

// acked returns for each of names the push sequence number as of which every
// stream that asked for it has acknowledged it: the highest there is when none
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
// lately is one, until its node is back with another one.
func (t *clients) standings(name string) []clientSeq {
	t.mu.Lock()
	defer t.mu.Unlock()
	var list []clientSeq
	add := func(c *client) {
		if seq, asked := c.acks.seq(name); asked {
			list = append(list, clientSeq{seq, c.node})
		}
	}
	for c := range t.streams {
		add(c)
	}
	now := time.Now()
	for _, c := range t.pollers {
		if !c.gone(now) {
			add(c)
		}
	}
	if len(t.broken) == 0 {
		return list
	}
	back := make(map[string]bool, len(list))
	for _, c := range list {
		back[c.node] = true
	}
	for _, c := range t.broken {
		if now.Sub(c.broke) < comeBack && !back[c.node] {
			add(c)
		}
	}
	return list
}

func (c *client) view() Client {
	v := Client{Node: c.node, Transport: c.transport, Peer: c.peer, Connected: c.connected, Seen: c.seen}
	v.Services, v.NACK = c.acks.list()
	return v
}

// room makes room by forgetting REST clients that are gone, if need be.
func (t *clients) room(now time.Time) bool {
	if len(t.streams)+len(t.pollers) >= t.max {
		t.sweep(now)
	}
	return len(t.streams)+len(t.pollers) < t.max
}

func (t *clients) sweep(now time.Time) {
	for key, c := range t.pollers {
		if c.gone(now) {
			delete(t.pollers, key)
		}
	}
}

// gone reports whether a REST client has missed its polls.
func (c *client) gone(now time.Time) bool {
	return now.Sub(c.seen) > max(minPollLife, missedPolls*c.interval)
}

// shorten cuts s to at most n bytes of valid UTF-8.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
