package xds

import (
	"slices"
	"strings"
)

// push is what one response carries.
type push struct {
	seq         uint64      // of the cache when it was collected
	resources   []*resource // what is current
	version     string      // derived from assignments alone
	assignments []*assignment
}

// choose sets the assignments to what form returns for each resource, and seals them. Do
// not call it with the cache locked.
func (p *push) choose(form func(*resource) *assignment) {
	p.assignments = make([]*assignment, len(p.resources))
	for i, r := range p.resources {
		p.assignments[i] = form(r)
	}
	p.seal()
}

// seal sorts the assignments by name, encodes those that are not encoded yet, and sets
// the version.
func (p *push) seal() {
	slices.SortFunc(p.assignments, func(a, b *assignment) int { return strings.Compare(a.name, b.name) })
	p.version = combinedVersion(p.assignments)
}

// err returns why something could not be encoded.
func (p push) err() error {
	for _, a := range p.assignments {
		if a.err != nil {
			return a.err
		}
	}
	return nil
}

// combinedVersion identifies the content of several assignments. That of one is its
// own, so that an operator sees the same version on every transport.
func combinedVersion(as []*assignment) string {
	if len(as) == 1 {
		return as[0].version()
	}
	var b []byte
	total := 0
	for _, a := range as { // the digest is of fixed length and covers the name
		endpoints, digest, _ := parseVersion(a.version())
		b = append(slices.Grow(b, len(as)*digestSize-len(b)), digest...)
		total += endpoints
	}
	return makeVersion(total, digestOf(b))
}

// as describes p as a response with a nonce.
func (p push) as(nonce string) sentResponse {
	s := sentResponse{nonce: nonce, version: p.version, seq: p.seq, items: make([]item, len(p.assignments))}
	for i, a := range p.assignments {
		s.items[i] = item{name: a.name, version: a.version()}
	}
	return s
}
