package share

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
)

// Two partitioned servers each store an override for the same host. The later one may
// arrive together with what the other server holds: the earlier one is reported anyway.
func TestOverrideOvertakenInTheSameMessageIsSent(t *testing.T) {
	dbs := databases(t, 2)
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t}
		for _, db := range dbs {
			w.add(db).decide(t, "web", 1)
			time.Sleep(time.Second)
		}
		earlier, later := w.servers[0], w.servers[1]
		made, _ := earlier.InForce()
		in := differing([2]override.Digest{earlier.Digest(), later.Digest()})
		held := later.Held(in.has)
		overrides, err := chunks(held)
		if err != nil {
			t.Fatal(err)
		}
		p := &peer{member: new(later.member)}
		earlier.sharer.peers[later.member.ID] = p
		for _, b := range append(overrides, stampsOf(in, held).encode(kindAnswer)) {
			earlier.sharer.Receive(&later.member, b)
		}
		earlier.sharer.read(time.Now())
		if now, _ := earlier.InForce(); len(now) != 1 || now[0].Stamp != held[0].Stamp {
			t.Fatalf("it holds %+v", now)
		}
		told := slices.ContainsFunc(p.queue, func(b []byte) bool {
			list, err := override.Decode(b[1:])
			return kind(b[0]) == kindOverrides && err == nil && len(list) == 1 && list[0].Stamp == made[0].Stamp
		})
		if !told {
			t.Errorf("the earlier override is not told, of %d messages", len(p.queue))
		}
	})
}
