package follow

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"go.etcd.io/bbolt"

	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// remembered is a member worth remembering.
func remembered(n byte) *fleet.Member {
	return &fleet.Member{
		ID: uuid.UUID{15: n}, Role: fleet.RoleUpstream, Version: fleet.FormatVersion, Service: "myservice", Liveness: fleet.Alive,
		Gossip: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, n}), 7946),
	}
}

func openTestDB(t *testing.T) *bbolt.DB {
	t.Helper()
	db, err := bbolt.Open(filepath.Join(t.TempDir(), "test.db"), 0o600, &bbolt.Options{NoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func poolOf(settled bool, members ...*fleet.Member) *registry.Snapshot {
	return &registry.Snapshot{Settled: settled, Members: members}
}

// onDisk are the last bytes of the ids of the members that the next start recalls.
func onDisk(t *testing.T, db *bbolt.DB) (ids []byte) {
	t.Helper()
	members, err := NewMemory(db, uuid.Nil, func(string) {}, slog.New(slog.DiscardHandler)).Recall()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range members {
		ids = append(ids, m.ID[15])
	}
	return ids
}

// recalling plays with the memory of a server that has just started, in a bubble.
func recalling(t *testing.T, db *bbolt.DB, f func(m *Memory, log *bytes.Buffer)) {
	var log bytes.Buffer
	m := NewMemory(db, uuid.UUID{15: 99}, func(string) {}, slog.New(slog.NewTextHandler(&log, nil)))
	if _, err := m.Recall(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { m.Run(ctx) })
	f(m, &log)
	cancel()
	wg.Wait()
}

func TestNewMembersAreWrittenBeforeTheyAreServed(t *testing.T) {
	db := openTestDB(t)
	synctest.Test(t, func(t *testing.T) {
		recalling(t, db, func(m *Memory, _ *bytes.Buffer) {
			quarantined := remembered(3)
			quarantined.Quarantine = "not challenged yet"
			<-m.Update(poolOf(false, remembered(1), remembered(2), quarantined))
			if got := onDisk(t, db); !slices.Equal(got, []byte{1, 2}) {
				t.Errorf("%v are on disk, want 1 and 2", got)
			}
			<-m.Update(poolOf(true, remembered(1), remembered(2), remembered(3)))
			if got := onDisk(t, db); !slices.Equal(got, []byte{1, 2, 3}) {
				t.Errorf("%v are on disk, want all", got)
			}
			if m.Update(poolOf(true, remembered(1), remembered(2), remembered(3))) != nil {
				t.Error("it is to be waited for although nobody is new")
			}
		})
	})
}

func TestMembersAreForgottenOnceGossipHasSettled(t *testing.T) {
	db := openTestDB(t)
	synctest.Test(t, func(t *testing.T) {
		recalling(t, db, func(m *Memory, _ *bytes.Buffer) { <-m.Update(poolOf(true, remembered(1), remembered(2))) })
		recalling(t, db, func(m *Memory, _ *bytes.Buffer) {
			m.Update(poolOf(false, remembered(2)))
			time.Sleep(2 * memoryEvery)
			synctest.Wait()
			if got := onDisk(t, db); !slices.Equal(got, []byte{1, 2}) {
				t.Errorf("%v are on disk before gossip has settled, want both", got)
			}
			m.Update(poolOf(true, remembered(2)))
			time.Sleep(2 * memoryEvery)
			synctest.Wait()
			if got := onDisk(t, db); !slices.Equal(got, []byte{2}) {
				t.Errorf("%v are on disk, want 2", got)
			}
		})
	})
}

func TestOnlyWhatChangedIsWritten(t *testing.T) {
	db := openTestDB(t)
	m := NewMemory(db, uuid.Nil, func(string) {}, slog.New(slog.DiscardHandler))
	pages := func() int64 {
		stats := db.Stats()
		return stats.TxStats.GetPageCount()
	}
	written := func(members ...*fleet.Member) int64 {
		before := pages()
		if !m.replace(members) {
			t.Fatal("cannot write")
		}
		return pages() - before
	}
	written(remembered(1), remembered(2))
	if n := written(remembered(1), remembered(2)); n != 0 {
		t.Errorf("%d pages for nothing", n)
	}
	heavier := remembered(2)
	heavier.Endpoint.Weight = 7
	if n := written(remembered(1), heavier); n == 0 || m.stored[heavier.ID] != heavier {
		t.Error("a change was not written")
	}
}

func TestMembersOfAnOlderVersionAreRecalledAndMoved(t *testing.T) {
	db := openTestDB(t)
	server := remembered(2)
	server.Role = fleet.RoleEDS
	old, err := json.Marshal([]any{remembered(1), server, map[string]string{"ID": "what"}})
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucket(OldBucket)
		if err != nil {
			return err
		}
		return b.Put(membersKey, old)
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := onDisk(t, db); !slices.Equal(got, []byte{2, 1}) {
		t.Fatalf("recalled %v, want the server first", got)
	}
	synctest.Test(t, func(t *testing.T) {
		recalling(t, db, func(m *Memory, _ *bytes.Buffer) { <-m.Update(poolOf(false, remembered(3))) })
	})
	if got := onDisk(t, db); !slices.Equal(got, []byte{2, 1, 3}) {
		t.Errorf("recalled %v after a new member, want all", got)
	}
	_ = db.View(func(tx *bbolt.Tx) error {
		if tx.Bucket(OldBucket).Get(membersKey) != nil {
			t.Error("the older form is still there")
		}
		return nil
	})
}

func TestFailingDiskDelaysNoSnapshot(t *testing.T) {
	db := openTestDB(t)
	synctest.Test(t, func(t *testing.T) {
		recalling(t, db, func(m *Memory, log *bytes.Buffer) {
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			<-m.Update(poolOf(true, remembered(1)))
			<-m.Update(poolOf(true, remembered(1), remembered(2)))
			synctest.Wait()
			if n := strings.Count(log.String(), "level=WARN"); n != 1 {
				t.Errorf("%d warnings, want one:\n%s", n, log)
			}
		})
	})
}
