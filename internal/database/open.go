package database

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"go.etcd.io/bbolt"
	bbolterrors "go.etcd.io/bbolt/errors"

	"github.com/rollcall-fleet/rollcall/internal/panics"
)

// File is the name of the database in its folder.
const File = "rollcall.db"

// ErrInUse says that another process has the database open.
var ErrInUse = errors.New("in use by another process")

// Options say how to open a database.
type Options struct {
	Dir     string        // made when missing
	Wait    time.Duration // for another process to close the file
	Recover bool          // move a damaged file aside and start with a new one

	// Buckets are the names that this program keeps at the top: a file that has
	// others only is another program's.
	Buckets []string

	Logger *slog.Logger
	Panics panics.Catcher // of panics in transactions
}

// Open opens the database in a folder. The error is a *DamagedError when the
// contents of the file cannot be used.
func Open(opts Options) (*DB, error) {
	if err := os.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("create the data folder: %w", err)
	}
	path := filepath.Join(opts.Dir, File)
	db, err := opts.open(path)
	if _, damaged := errors.AsType[*DamagedError](err); damaged && opts.Recover {
		aside := path + ".damaged-" + time.Now().UTC().Format("20060102T150405.000Z")
		if e := os.Rename(path, aside); e != nil {
			return nil, fmt.Errorf("move the damaged database aside: %w", e)
		}
		opts.Logger.Warn("damaged database moved aside; starting with a new one, overrides come from the other EDS servers",
			"moved_to", aside, "err", err)
		db, err = opts.open(path)
	}
	return db, err
}

// open checks the file while it is locked against writers, then opens it.
func (o Options) open(path string) (*DB, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return o.create(path)
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is not a regular file: move it away", path)
	}
	if info.Size() > 0 {
		if err := o.inspect(path); err != nil {
			return nil, err
		}
	}
	return o.openBolt(path)
}

// create makes a new file, and leaves none when that fails half-way.
func (o Options) create(path string) (*DB, error) {
	db, err := o.openBolt(path)
	if err != nil && !errors.Is(err, ErrInUse) {
		_ = os.Remove(path) // it may not exist, and never became a database
	}
	return db, err
}

// inspect takes bbolt's lock for readers, which keeps writers out, and checks the
// structure of the file without bbolt, which would panic on damage.
func (o Options) inspect(path string) error {
	locked, err := boltOpen(path, &bbolt.Options{Timeout: o.Wait, ReadOnly: true})
	if err != nil {
		return err
	}
	defer locked.Close()
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	oneHeader, err := check(f, info.Size())
	if err != nil {
		return &DamagedError{path, err}
	}
	if oneHeader {
		o.Logger.Warn("one of the two headers of the database is damaged: the last change before the stop may be missing", "path", path)
	}
	return nil
}

// openBolt opens a file whose structure is sound for writing.
func (o Options) openBolt(path string) (*DB, error) {
	bolt, err := boltOpen(path, &bbolt.Options{Timeout: o.Wait})
	if err != nil {
		return nil, err
	}
	file, err := os.Stat(path)
	if err != nil {
		return nil, errors.Join(err, bolt.Close())
	}
	db := &DB{bolt: bolt, file: file, logger: o.Logger, panics: o.Panics}
	if err := db.View(o.identify); err != nil {
		return nil, errors.Join(&DamagedError{path, err}, db.Close())
	}
	return db, nil
}

// boltOpen is bbolt.Open without its panics.
func boltOpen(path string, opts *bbolt.Options) (db *bbolt.DB, err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if v := recover(); v != nil {
			err = &DamagedError{path, fmt.Errorf("%v", v)}
		}
	}()
	db, err = bbolt.Open(path, 0o600, opts)
	for _, damage := range []error{bbolterrors.ErrInvalid, bbolterrors.ErrChecksum, bbolterrors.ErrVersionMismatch} {
		if errors.Is(err, damage) {
			return nil, &DamagedError{path, err}
		}
	}
	switch {
	case errors.Is(err, bbolterrors.ErrTimeout):
		return nil, ErrInUse
	case err != nil && strings.Contains(err.Error(), "file size too small"): // bbolt has no value for it
		return nil, &DamagedError{path, err}
	default:
		return db, err
	}
}

// identify refuses a database of another program.
func (o Options) identify(tx *bbolt.Tx) error {
	own, foreign := false, ""
	err := tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
		switch {
		case !slices.Contains(o.Buckets, string(name)):
			foreign = string(name)
		case b == nil:
			return fmt.Errorf("%q is not a bucket", name)
		default:
			own = true
		}
		return nil
	})
	if err == nil && !own && foreign != "" {
		return fmt.Errorf("it belongs to another program: it has bucket %.40q and none of rollcall's buckets", foreign)
	}
	return err
}
