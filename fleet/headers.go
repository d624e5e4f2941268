package fleet

// The HTTP headers of rollcall.
const (
	IDHeader        = "X-Rollcall-Id"        // in an upstream's responses: the uuid of its process, by which a probe notices a new process at an old address
	ActorHeader     = "X-Rollcall-Actor"     // in a request to the API: the name of the operator, for the audit
	UnsettledHeader = "X-Rollcall-Unsettled" // in a response of the API: gossip has not settled, and the list may be incomplete
)
