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

// Role is what a member does in the pool.
type Role string

// The roles a member can have.
const (
	RoleUpstream Role = "upstream" // serves requests for one service
	RoleEDS      Role = "eds"      // watches the pool and serves EDS to Envoys
)

// Liveness is the state of a member in gossip. It is not health: a live member can be
// unhealthy, and a dead one was often healthy until it died.
type Liveness string

// The states of liveness.
const (
	Alive Liveness = "alive"
	Left  Liveness = "left" // it announced draining before it left
	Dead  Liveness = "dead" // it disappeared without announcing draining
)

// Health is the health that an endpoint announces for itself.
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

// Member is a process in the gossip pool, as seen by this one. It is immutable, and lists
// of members share it: a reader may keep one. A member that does not change is the same
// pointer from one list to the next.
type Member struct {
	ID      uuid.UUID // new at each start of the process; its name in the pool
	Role    Role
	Started time.Time // by the member's own clock, to the millisecond
	Version uint64    // its metadata format version

	// Revision counts the member's announcements: a later one replaces an earlier one, in
	// whatever order they arrive.
	Revision uint64

	// Signature is the signature that Sign makes, in base64; "" if there is none. It proves
	// nothing before Verify has checked it.
	Signature string

	// Unknown is the text of the fields that this version of rollcall does not know. It is
	// kept since the signature covers them.
	Unknown string

	// Set for RoleUpstream only, except Endpoint.Health, which is Draining for any member
	// that is about to leave.
	Service  string
	Endpoint Endpoint
	Probe    Probe

	// Set by the observer, never by the member itself.
	Gossip     netip.AddrPort // the address it gossips at
	Liveness   Liveness
	Since      time.Time // when the observer last saw Liveness or the metadata change
	Quarantine string    // why the member is not served; "": it is not quarantined
}

// ProbeKind is how EDS servers may check an endpoint.
type ProbeKind string

// The kinds of probe.
const (
	ProbeHTTP ProbeKind = "http" // GET Path on the serving port
	ProbeTCP  ProbeKind = "tcp"  // the serving port accepts a connection
	ProbeNone ProbeKind = "none" // no checks: only the announced health counts
)

// Probe configures the checks of an endpoint by EDS servers.
type Probe struct {
	Kind ProbeKind
	Path string // for ProbeHTTP; begins with a slash

	// OnBehalf is true when another process serves the endpoint than the one that gossips,
	// so that the state of the gossip port proves nothing about the endpoint.
	OnBehalf bool

	// Interval and Timeout of a check; 0: the EDS server's own. Whole milliseconds, at most
	// MaxCheck. Interval is at least MinInterval.
	Interval, Timeout time.Duration
}

// CompareIDs orders members by id. It compares pointers first: fetching thousands of members
// from memory would dominate the cost of comparing lists.
func CompareIDs(a, b *Member) int {
	if a == b {
		return 0
	}
	return bytes.Compare(a.ID[:], b.ID[:])
}

// SortMembers orders members by id, so that equal pools give equal lists.
func SortMembers(ms []*Member) { slices.SortFunc(ms, CompareIDs) }

// FindMember returns the position of id in members, which are sorted by id, or where it would
// be inserted, and whether it exists.
func FindMember(members []*Member, id uuid.UUID) (int, bool) {
	i := sort.Search(len(members), func(i int) bool { return bytes.Compare(members[i].ID[:], id[:]) >= 0 })
	return i, i < len(members) && members[i].ID == id
}
