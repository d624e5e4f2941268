package fleet

import (
	"fmt"
	"math"
	"time"
)

// CheckRoom returns an error when m cannot be announced, or could not be in one of
// the states that it may come to without being described anew: any health, weight,
// revision, and start time. signed says that each announcement is signed.
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

// size is how many bytes m's metadata takes, even where that is too much.
func (m Member) size() (int, error) {
	if err := m.check(); err != nil {
		return 0, err
	}
	b, err := m.encode()
	return len(b), err
}

// longest is m in the state that takes most room.
func (m Member) longest() Member {
	m.Revision = math.MaxUint64
	m.Started = time.Date(maxYear, 12, 31, 0, 0, 0, 0, time.UTC) // a clock may be set
	m.Endpoint.Health = Draining
	if m.Role == RoleUpstream {
		m.Endpoint.Health, m.Endpoint.Weight = Unhealthy, MaxWeight
	}
	return m
}
