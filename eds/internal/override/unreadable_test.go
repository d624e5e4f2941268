package override

import (
	"bytes"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.etcd.io/bbolt"
)

func TestUnreadableOverrideIsSkippedAndNamed(t *testing.T) {
	good := list("good", Pin, "10.0.0.1:80")
	for name, value := range map[string]string{
		"not JSON":           "{",
		"of another service": `{"Service":"x","Mode":"pin"}`,
		"a field too many":   `{"Service":"web","Mode":"pin","Weight":7}`,
		"of another type":    `[]`,
	} {
		t.Run(name, func(t *testing.T) {
			s, db := open(t, filepath.Join(t.TempDir(), "db"))
			if _, err := s.Create(good); err != nil {
				t.Fatal(err)
			}
			err := db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Put([]byte("web"), []byte(value)) })
			if err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			counted := ""
			s, err = NewStore(db, Options{Logger: slog.New(slog.NewTextHandler(&log, nil)), Unreadable: func(kind string) { counted += kind }})
			if err != nil {
				t.Fatal(err)
			}
			if inForce, _ := s.InForce(); len(inForce) != 1 || inForce[0].Service != "good" {
				t.Errorf("in force are %v", inForce)
			}
			if counted != UnreadableOverride || !strings.Contains(log.String(), "level=ERROR") || !strings.Contains(log.String(), "service=web") {
				t.Errorf("%q was counted, the log is %s", counted, &log)
			}
			if _, err := s.Create(list("web", Pin, "10.0.0.2:80")); err != nil {
				t.Errorf("it cannot be made again: %v", err)
			}
		})
	}
}

func TestUnreadableAuditEntriesAreSkippedAndCounted(t *testing.T) {
	j := newJournal(t)
	j.write(10, "")
	for _, n := range []uint64{1, 4, 10} { // the oldest, one between, the newest
		err := j.db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(auditBucket).Put(sequence(n), []byte{0xff}) })
		if err != nil {
			t.Fatal(err)
		}
	}
	err := j.db.Update(func(tx *bbolt.Tx) error {
		if err := tx.Bucket(auditBucket).Put([]byte("no number"), nil); err != nil {
			return err
		}
		_, err := tx.Bucket(auditBucket).CreateBucket([]byte("~ a bucket"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	counted := 0
	store, err := NewStore(j.db, Options{Unreadable: func(string) { counted++ }, Now: func() time.Time { return epoch }})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 { // each is counted once
		entries, err := store.Audit(time.Time{}, 100, "")
		if err != nil || len(entries) != 7 {
			t.Fatalf("%d entries, %v", len(entries), err)
		}
	}
	if counted != 5 {
		t.Errorf("%d were counted", counted)
	}
	if err := store.Note(Done{Action: Confirmed, Service: "web"}); err != nil {
		t.Errorf("nothing can be added: %v", err)
	}
	if entries, err := store.Audit(time.Time{}, 1, ""); err != nil || len(entries) != 1 || entries[0].Action != Confirmed {
		t.Errorf("the newest is %v, %v", entries, err)
	}
}

func TestDatabaseOfANewerVersionIsRefused(t *testing.T) {
	_, db := open(t, filepath.Join(t.TempDir(), "db"))
	err := db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Put(formatKey, []byte("2")) })
	if err != nil {
		t.Fatal(err)
	}
	if _, err := NewStore(db, Options{}); err == nil || !strings.Contains(err.Error(), "newer version of rollcall") {
		t.Errorf("the error is %v", err)
	}
}

func TestUnreadableServerIDIsReplaced(t *testing.T) {
	s, db := open(t, filepath.Join(t.TempDir(), "db"))
	was := s.Server()
	err := db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(metaBucket).Put(serverKey, []byte("short")) })
	if err != nil {
		t.Fatal(err)
	}
	if s, err = NewStore(db, Options{}); err != nil || s.Server() == uuid.Nil || s.Server() == was {
		t.Errorf("the id is %v, %v", fmt.Sprint(s), err)
	}
}
