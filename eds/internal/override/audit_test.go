package override

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.etcd.io/bbolt"
)

// journal is the audit of a store, written to without deciding anything.
type journal struct {
	t     *testing.T
	path  string
	store *Store
	db    *bbolt.DB
	now   time.Time
	count int // of entries ever made
}

func newJournal(t *testing.T) *journal {
	j := &journal{t: t, path: filepath.Join(t.TempDir(), "db"), now: epoch}
	j.open()
	t.Cleanup(func() { _ = j.db.Close() })
	return j
}

func (j *journal) open() {
	j.t.Helper()
	var err error
	if j.db, err = bbolt.Open(j.path, 0o600, &bbolt.Options{NoSync: true}); err != nil {
		j.t.Fatal(err)
	}
	if j.store, err = NewStore(j.db, Options{}); err != nil {
		j.t.Fatal(err)
	}
}

// write makes n entries in one transaction. The reason of each is its number, and
// what more is to be in it.
func (j *journal) write(n int, more string) {
	j.t.Helper()
	var entries []Entry
	for range n {
		entries = append(entries, Entry{At: j.now, Action: Created, Override: Override{
			Key: Key{Service: "s"}, Reason: strconv.Itoa(j.count) + more, Stamp: Stamp{Wall: int64(j.count), Server: uuid.Max},
		}})
		j.count++
	}
	if err := j.db.Update(func(tx *bbolt.Tx) error { return j.store.keptAudit.append(tx, entries, j.now) }); err != nil {
		j.t.Fatal(err)
	}
}

// again opens the file again, as a new process would.
func (j *journal) again() {
	j.t.Helper()
	_ = j.db.Close()
	j.open()
}

// holds fails the test unless the newest n entries are there and no others, and all
// that is kept of them agrees. others are bytes of entries that are not there.
func (j *journal) holds(n int, others int64) {
	j.t.Helper()
	entries, err := j.store.Audit(time.Time{}, n+1, "")
	if err != nil || len(entries) != n {
		j.t.Fatalf("%d entries or more are there, want %d: %v", len(entries), n, err)
	}
	bytes := others
	for i, e := range entries {
		if number := strings.TrimRight(e.Override.Reason, "x"); number != strconv.Itoa(j.count-1-i) {
			j.t.Fatalf("entry %d is %s, of %d", i, number, j.count)
		}
		b, err := json.Marshal(e)
		if err != nil {
			j.t.Fatal(err)
		}
		bytes += int64(len(b))
	}
	if bytes != j.store.keptAudit.bytes {
		j.t.Fatalf("they have %d bytes, and are said to have %d", bytes, j.store.keptAudit.bytes)
	}
	_ = j.db.View(func(tx *bbolt.Tx) error {
		if stamps := tx.Bucket(stampsBucket).Stats().KeyN; stamps != n {
			j.t.Fatalf("there are %d stamps of %d entries", stamps, n)
		}
		return nil
	})
}

// It is by their numbers that entries are counted: a gap stands for as many.
func TestAuditKeepsTheNewestHundredThousandEntries(t *testing.T) {
	j := newJournal(t)
	j.write(10, "")
	j.store.keptAudit.next = maxAudit // the last that fits but for one
	j.write(1, "")
	j.holds(11, 0)
	j.write(1, "")
	j.holds(11, 0)
	j.again()
	j.write(5, "")
	j.holds(11, 0)
}

// The sum of their bytes is kept beside the entries: a larger one stands for more.
func TestAuditKeepsTheNewestQuarterOfAGiB(t *testing.T) {
	j := newJournal(t)
	j.count = 100 // so that the entries are of one length
	j.write(9, "")
	size := j.store.keptAudit.bytes / 9
	others := auditBytes - 10*size
	j.store.keptAudit.bytes += others
	j.write(1, "")
	j.holds(10, others)
	j.write(1, "")
	j.holds(10, others)
	j.write(1, strings.Repeat("x", int(size))) // in the room of two
	j.holds(9, others)
}

func TestAuditForgetsWhatIsOldALittleAtATime(t *testing.T) {
	j := newJournal(t)
	j.write(3*pruneMost, "")
	j.now = j.now.Add(keepAudit)
	j.write(1, "")
	j.holds(3*pruneMost+1, 0) // they are as old as may be
	j.now = j.now.Add(time.Millisecond)
	j.write(1, "")
	j.holds(2*pruneMost+1, 0) // one for the one that came, and some of the rest
	j.write(1, "")
	j.holds(pruneMost+1, 0)
	j.write(1, "")
	j.holds(4, 0)
}

func TestAuditContinuesFromAnyPosition(t *testing.T) {
	j := newJournal(t)
	j.write(3, "")
	began := j.now
	j.now = j.now.Add(keepAudit + 1)
	j.write(2, "") // the first three are gone
	read := func(since time.Time, limit int, before uint64) (numbers string) {
		t.Helper()
		id := ""
		if before > 0 {
			id = FormatID(before)
		}
		entries, err := j.store.Audit(since, limit, id)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			numbers += e.Override.Reason
		}
		return numbers
	}
	for _, c := range []struct {
		since  time.Time
		limit  int
		before uint64 // entry n is at n+1
		want   string
	}{
		{began, 10, 0, "43"},
		{j.now, 10, 0, "43"}, // the moment itself counts
		{j.now.Add(1), 10, 0, ""},
		{began, 1, 0, "4"},
		{began, 2, 0, "43"},
		{began, 0, 0, ""},
		{began, 10, 5, "3"},
		{began, 10, 4, ""}, // the oldest
		{began, 10, 2, ""}, // one that is gone
		{began, 10, 6, "43"},
		{began, 10, 1 << 60, "43"}, // one that never was
	} {
		if got := read(c.since, c.limit, c.before); got != c.want {
			t.Errorf("%s: got %q, want %q", fmt.Sprint(c.since.Sub(began), " ", c.limit, " ", c.before), got, c.want)
		}
	}
}
