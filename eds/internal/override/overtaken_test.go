package override

import (
	"testing"
	"time"

	"github.com/google/uuid"
)

// A revocation that arrives after a later override changes nothing, and the audit
// records it, once.
func TestLateRevocationIsInTheAudit(t *testing.T) {
	s := newStore(t)
	wall, server := time.Now().UnixMilli(), uuid.UUID{1}
	later := Override{Key: drained, State: Drain, Since: epoch, Stamp: Stamp{Wall: wall, Server: server}}
	earlier := Override{Key: drained, Revoked: true, Since: epoch, Actor: "bob", Stamp: Stamp{Wall: wall - 1, Server: server}}
	for _, o := range []Override{later, earlier, earlier} {
		if _, err := s.Merge([]Override{o}); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := s.Audit(time.Time{}, 10, "")
	if err != nil || len(entries) != 2 {
		t.Fatalf("the audit has %+v, %v", entries, err)
	}
	if e := entries[0]; e.Action != Overtaken || !e.Override.Revoked || e.Override.Actor != "bob" || e.Before == nil || e.Before.State != Drain {
		t.Errorf("the newest entry is %+v", e)
	}
	if list, _ := s.InForce(); len(list) != 1 || list[0].State != Drain {
		t.Errorf("in force: %+v", list)
	}
}
