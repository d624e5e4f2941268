package fleet

// The HTTP headers of rollcall.
const (
	IDHeader        = "X-Rollcall-Id"        // of an upstream's answers: the uuid of its process, by which a probe tells a new one at an old address
	ActorHeader     = "X-Rollcall-Actor"     // of a request to the API: who asks, for the audit
	UnsettledHeader = "X-Rollcall-Unsettled" // of an answer of the API: gossip has not settled, the list may be short
)
