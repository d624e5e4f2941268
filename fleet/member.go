package fleet

import (
	"bytes"
	"cmp"
	"net/netip"
	"slices"
	"sort"
	"time"

	"github.com/google/uuid"
)

// Role says what a member does in the pool.
type Role string

// The roles a member can have.
const (
	RoleUpstream Role = "upstream" // serves requests for one service
	RoleEDS      Role = "eds"      // watches the pool and feeds Envoys
)

// Liveness is what gossip says of a member. It is not health: a live member can
// be unhealthy, and a dead one was often healthy to the end.
type Liveness string

// The states of liveness.
const (
	Alive Liveness = "alive"
	Left  Liveness = "left" // it published draining before it went
	Dead  Liveness = "dead" // it went without a word
)

// Health is what an endpoint says of itself.
type Health string

// The states of health.
const (
	Healthy   Health = "healthy"
	Unhealthy Health = "unhealthy"
	Draining  Health = "draining"
)

// Locality is where an endpoint runs, in Envoy's terms.
type Locality struct {
	Region string
	Zone   string
}

// Compare orders localities by region, then zone.
func (l Locality) Compare(o Locality) int {
	return cmp.Or(cmp.Compare(l.Region, o.Region), cmp.Compare(l.Zone, o.Zone))
}

// Endpoint is one backend of a service.
type Endpoint struct {
	Addr     netip.AddrPort
	Weight   uint32 // load balancing weight, 1 to 65535
	Locality Locality
	Canary   bool
	Tags     map[string]string // further tags; nil when there are none; never written after creation
	Health   Health
}

// Member is one gossiping process as seen by this one. Lists of members share them:
// a reader may keep one, and nobody writes to it. One that stays as it was is the
// same from one list to the next.
type Member struct {
	ID      uuid.UUID // new at each start of the process; its name in the pool
	Role    Role
	Started time.Time // by the member's own clock, to the millisecond
	Version uint64    // metadata format version it speaks

	// Revision counts the member's announcements: a later word outranks an earlier
	// one, whichever way it came.
	Revision uint64

	// Signature is the proof that Sign makes, base64; "" without one. That it is there
	// says nothing: see Verify.
	Signature string

	// Unknown has the fields of the metadata that this version of rollcall does not
	// know, as they were sent: the signature covers them.
	Unknown string

	// Set for RoleUpstream only, but for Endpoint.Health, which is Draining for any
	// member that is about to leave.
	Service  string
	Endpoint Endpoint
	Probe    Probe

	// Set by the observer, never by the member itself.
	Gossip     netip.AddrPort // the address it gossips at
	Liveness   Liveness
	Since      time.Time // when the observer last saw Liveness or the metadata change
	Quarantine string    // why its metadata was refused; "" when it was not
}

// ProbeKind says how an EDS server may check an endpoint.
type ProbeKind string

// The kinds of probe.
const (
	ProbeHTTP ProbeKind = "http" // GET Path on the serving port
	ProbeTCP  ProbeKind = "tcp"  // the serving port accepts a connection
	ProbeNone ProbeKind = "none" // the member's published health is all there is
)

// Probe is what to check an endpoint by.
type Probe struct {
	Kind ProbeKind
	Path string // for ProbeHTTP; begins with a slash

	// OnBehalf is true when the endpoint is served by another process than the
	// one that gossips, so that the member's gossip port says nothing about it.
	OnBehalf bool

	// Interval and Timeout of a check, when its operator wants others than the EDS
	// server's; 0 leaves them to it. Whole milliseconds, at most MaxCheck; an interval
	// of MinInterval at least.
	Interval, Timeout time.Duration
}

// CompareIDs orders members by id. It does not read members that are the same one: to
// fetch thousands from memory is what takes long where lists are compared.
func CompareIDs(a, b *Member) int {
	if a == b {
		return 0
	}
	return bytes.Compare(a.ID[:], b.ID[:])
}

// SortMembers orders members by id, so that equal pools look equal.
func SortMembers(ms []*Member) { slices.SortFunc(ms, CompareIDs) }

// FindMember returns where in members, which are sorted by id, the one with this id
// is or would be, and whether it is there.
func FindMember(members []*Member, id uuid.UUID) (int, bool) {
	i := sort.Search(len(members), func(i int) bool { return bytes.Compare(members[i].ID[:], id[:]) >= 0 })
	return i, i < len(members) && members[i].ID == id
}
