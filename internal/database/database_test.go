package database

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"github.com/rollcall-fleet/rollcall/internal/panics"
)

// opened opens the database in dir, whose log goes to the returned buffer.
func opened(t *testing.T, dir string, recovers bool) (*DB, *bytes.Buffer, error) {
	t.Helper()
	log := new(bytes.Buffer)
	db, err := Open(Options{
		Dir: dir, Wait: 50 * time.Millisecond, Recover: recovers, Buckets: []string{"fruit", "trees"},
		Logger: slog.New(slog.NewTextHandler(log, nil)), Panics: panics.Catcher{Logger: slog.New(slog.NewTextHandler(log, nil))},
	})
	return db, log, err
}

// filled writes a database with several levels of pages, a long value, small
// buckets that are kept in their parent's page, and free pages.
func filled(t *testing.T, dir string) []byte {
	t.Helper()
	db, _, err := opened(t, dir, false)
	if err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		err := db.Update(func(tx *bbolt.Tx) error {
			fruit, err := tx.CreateBucketIfNotExists([]byte("fruit"))
			if err != nil {
				return err
			}
			if _, err := tx.CreateBucketIfNotExists([]byte("trees")); err != nil {
				return err
			}
			for i := range 3000 {
				key := fmt.Appendf(nil, "key-%d-%d", i, round)
				if err := fruit.Put(key, bytes.Repeat([]byte("v"), i%90)); err != nil {
					return err
				}
				if round == 2 && i%3 == 0 {
					if err := fruit.Delete(fmt.Appendf(nil, "key-%d-1", i)); err != nil {
						return err
					}
				}
			}
			return fruit.Put([]byte("long"), make([]byte, 20_000))
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, File))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSoundDatabaseOpens(t *testing.T) {
	dir := t.TempDir()
	filled(t, dir)
	db, log, err := opened(t, dir, true)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if log.Len() > 0 {
		t.Errorf("a sound database was opened with %s", log)
	}
}

// Whatever is done to the file, to open it, to read all of it and to write to it
// neither panics nor faults nor loops; bbolt alone does all of these.
func TestDamageNeitherPanicsNorHangs(t *testing.T) {
	whole := filled(t, t.TempDir())
	refused := 0
	for seed := range uint64(150) {
		b := bytes.Clone(whole)
		damage(&b, seed)
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, File), b, 0o600); err != nil {
			t.Fatal(err)
		}
		db, log, err := opened(t, dir, false)
		if err != nil {
			if _, damaged := errors.AsType[*DamagedError](err); !damaged || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), dir) {
				t.Errorf("seed %d: the error is %v", seed, err)
			}
			refused++
			continue
		}
		use(t, db, seed)
		if err := db.Close(); err != nil {
			t.Errorf("seed %d: close: %v", seed, err)
		}
		if strings.Contains(log.String(), "panic") {
			t.Errorf("seed %d: %s", seed, log)
		}
	}
	if refused < 40 {
		t.Errorf("%d of 150 damaged files were refused: the damage is too small to test anything", refused)
	}
}

// damage cuts, overwrites or flips something. Small numbers are worst: they look
// like page numbers and lengths.
func damage(b *[]byte, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 14))
	page := 4096 * r.IntN(len(*b)/4096)
	switch seed % 5 {
	case 0:
		*b = (*b)[:r.IntN(len(*b))]
	case 1:
		clear((*b)[page : page+4096])
	case 2:
		(*b)[page+r.IntN(80)] ^= 1 << r.IntN(8)
	case 3:
		for i := range 16 {
			(*b)[page+i] = byte(r.IntN(4))
		}
	case 4:
		copy((*b)[page:page+4096], bytes.Clone((*b)[4096*r.IntN(len(*b)/4096):]))
	}
}

// use reads everything and writes something.
func use(t *testing.T, db *DB, seed uint64) {
	t.Helper()
	err := db.View(func(tx *bbolt.Tx) error {
		if b := tx.Bucket([]byte("fruit")); b != nil {
			return b.ForEach(func(_, _ []byte) error { return nil })
		}
		return nil
	})
	err = errors.Join(err, db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte("fruit"))
		if err != nil {
			return err
		}
		for i := range 300 {
			if err := b.Put(fmt.Appendf(nil, "new-%d", i), make([]byte, 60)); err != nil {
				return err
			}
		}
		return nil
	}))
	if err != nil {
		t.Errorf("seed %d: %v", seed, err)
	}
}

func TestRecoverMovesADamagedFileAside(t *testing.T) {
	dir := t.TempDir()
	filled(t, dir)
	path := filepath.Join(dir, File)
	if err := os.WriteFile(path, []byte("no database at all"), 0o600); err != nil {
		t.Fatal(err)
	}
	db, log, err := opened(t, dir, true)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	aside, err := filepath.Glob(path + ".damaged-*")
	if err != nil || len(aside) != 1 {
		t.Fatalf("the damaged file is at %v, %v", aside, err)
	}
	if kept, _ := os.ReadFile(aside[0]); string(kept) != "no database at all" {
		t.Errorf("it holds %q", kept)
	}
	if !strings.Contains(log.String(), aside[0]) {
		t.Errorf("the log does not say where it is: %s", log)
	}
}

func TestUnusableFilesAreRefusedAndKept(t *testing.T) {
	for name, tt := range map[string]struct {
		make func(t *testing.T, path string)
		want string
	}{
		"a folder": {func(t *testing.T, path string) { must(t, os.Mkdir(path, 0o700)) }, "not a regular file"},
		"text": {func(t *testing.T, path string) {
			must(t, os.WriteFile(path, []byte(strings.Repeat("text ", 4000)), 0o600))
		}, "invalid database"},
		"another program's": {anotherPrograms, "another program"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			tt.make(t, filepath.Join(dir, File))
			_, _, err := opened(t, dir, false)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("the error is %v", err)
			}
			if _, err := os.Stat(filepath.Join(dir, File)); err != nil {
				t.Error(err)
			}
		})
	}
}

func anotherPrograms(t *testing.T, path string) {
	db, err := bbolt.Open(path, 0o600, nil)
	must(t, err)
	must(t, db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("raft")); return err }))
	must(t, db.Close())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestEmptyFileBecomesADatabase(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, File), nil, 0o600))
	db, _, err := opened(t, dir, false)
	must(t, err)
	must(t, db.Close())
}

func TestSecondOpenFailsWhileTheDatabaseIsInUse(t *testing.T) {
	dir := t.TempDir()
	filled(t, dir)
	db, _, err := opened(t, dir, false)
	must(t, err)
	defer db.Close()
	if _, _, err := opened(t, dir, true); !errors.Is(err, ErrInUse) {
		t.Errorf("the error is %v", err)
	}
	if aside, _ := fs.Glob(os.DirFS(dir), "*damaged*"); len(aside) > 0 {
		t.Errorf("a database in use was moved to %v", aside)
	}
}

func TestPanicInATransactionIsAnErrorAndLocksNothing(t *testing.T) {
	counted := 0
	log := new(bytes.Buffer)
	logger := slog.New(slog.NewTextHandler(log, nil))
	db, err := Open(Options{Dir: t.TempDir(), Logger: logger, Panics: panics.Catcher{Logger: logger, Count: func(string) { counted++ }}})
	must(t, err)
	for _, transaction := range []func(func(*bbolt.Tx) error) error{db.View, db.Update} {
		if err := transaction(func(*bbolt.Tx) error { panic("a bug") }); err == nil || !strings.Contains(err.Error(), "a bug") {
			t.Errorf("the error is %v", err)
		}
	}
	must(t, db.Update(func(tx *bbolt.Tx) error { _, err := tx.CreateBucket([]byte("fruit")); return err }))
	must(t, db.Close())
	if counted != 2 || strings.Count(log.String(), "level=ERROR") != 2 || !strings.Contains(log.String(), "database_test.go") {
		t.Errorf("%d panics were counted, the log is %s", counted, log)
	}
}

// A fault is what the kernel answers with when the disk cannot deliver a mapped page.
func TestFaultInATransactionIsAnError(t *testing.T) {
	dir := t.TempDir()
	filled(t, dir)
	db, log, err := opened(t, dir, false)
	must(t, err)
	defer db.Close()
	must(t, os.Truncate(filepath.Join(dir, File), 8192))
	for range 2 {
		err = db.View(func(tx *bbolt.Tx) error {
			return tx.Bucket([]byte("fruit")).ForEach(func(_, v []byte) error { return nil })
		})
		if !errors.Is(err, errFault) {
			t.Errorf("pages that no longer exist were read: %v", err)
		}
	}
	if strings.Count(log.String(), "level=ERROR") != 1 || !strings.Contains(log.String(), dir) {
		t.Errorf("the log is %s", log)
	}
}

func TestPanicInsideBboltBreaksWritesButNothingWaits(t *testing.T) {
	dir := t.TempDir()
	filled(t, dir)
	db, _, err := opened(t, dir, false)
	must(t, err)
	must(t, os.Truncate(filepath.Join(dir, File), 8192)) // neither the commit nor its rollback can read the list of free pages
	write := func(*bbolt.Tx) error { return nil }
	if err := db.Update(write); err == nil {
		t.Fatal("a write to pages that are gone succeeded")
	}
	if err := db.Update(write); err == nil {
		t.Error("a second one succeeded")
	}
	if err := db.Close(); !errors.Is(err, ErrBroken) {
		t.Errorf("close: %v", err)
	}
}

func TestWriteToAFileThatIsNoLongerInItsPlaceFails(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		lose       func(dir string) error
	}{
		{"the folder is deleted", "was deleted", os.RemoveAll},
		{"the file is deleted", "was deleted", func(dir string) error { return os.Remove(filepath.Join(dir, File)) }},
		{"another file takes its place", "was replaced", func(dir string) error {
			path := filepath.Join(dir, File)
			return errors.Join(os.Rename(path, path+".old"), os.WriteFile(path, nil, 0o600))
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "data")
			db, _, err := opened(t, dir, false)
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			write := func() error {
				return db.Update(func(tx *bbolt.Tx) error {
					_, err := tx.CreateBucketIfNotExists([]byte("fruit"))
					return err
				})
			}
			if err := errors.Join(write(), tt.lose(dir)); err != nil {
				t.Fatal(err)
			}
			if err := write(); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("a write = %v, want an error with %q", err, tt.want)
			}
			if err := db.View(func(*bbolt.Tx) error { return nil }); err != nil {
				t.Errorf("a read = %v, want nil", err)
			}
		})
	}
}
