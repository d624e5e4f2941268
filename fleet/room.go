package fleet

import (
	"fmt"
	"math"
	"time"
)

// CheckRoom returns an error when m cannot be announced now, or would not fit in one of the
// states that it may reach later: any health, weight, revision, and start time. signed is
// true when announcements are signed.
func CheckRoom(m Member, signed bool) error {
	m.Signature = ""
	now, err := m.size()
	if err != nil {
		return err
	}
	most, err := m.longest().size()
	if err != nil {
		return err
	}
	left := MaxMeta - (most - now)
	kept := fmt.Sprintf("%d are kept for later states", most-now)
	if signed {
		left -= signatureRoom
		kept += fmt.Sprintf(" and %d for the signature", signatureRoom)
	}
	if now > left {
		return fmt.Errorf("metadata takes %d bytes, %d more than are left (of %d, %s): shorten the service name, the locality, the health path or the tags", now, now-left, MaxMeta, kept)
	}
	return nil
}

// size is the length of m's metadata in bytes, which may exceed MaxMeta.
func (m Member) size() (int, error) {
	if err := m.check(); err != nil {
		return 0, err
	}
	b, err := m.encode()
	return len(b), err
}

// longest is m in the state with the longest metadata.
func (m Member) longest() Member {
	m.Revision = math.MaxUint64
	m.Started = time.Date(maxYear, 12, 31, 0, 0, 0, 0, time.UTC) // the clock may be set ahead
	m.Endpoint.Health = Draining
	if m.Role == RoleUpstream {
		m.Endpoint.Health, m.Endpoint.Weight = Unhealthy, MaxWeight
	}
	return m
}
