package fleet

import "maps"

// Equal reports whether e and o have the same content.
func (e *Endpoint) Equal(o *Endpoint) bool {
	return e.Addr == o.Addr && e.Weight == o.Weight && e.Canary == o.Canary && e.Health == o.Health &&
		e.Locality == o.Locality && maps.Equal(e.Tags, o.Tags)
}

// Equal reports whether m and o have the same content. It is cheap, since a search for
// changes compares every member.
func (m *Member) Equal(o *Member) bool {
	return m == o || m.ID == o.ID && m.Revision == o.Revision && m.Since.Equal(o.Since) && m.Started.Equal(o.Started) &&
		m.Liveness == o.Liveness && m.Role == o.Role && m.Version == o.Version && m.Gossip == o.Gossip &&
		m.Service == o.Service && m.Signature == o.Signature && m.Unknown == o.Unknown && m.Quarantine == o.Quarantine && m.Probe == o.Probe && m.Endpoint.Equal(&o.Endpoint)
}
