// Package database opens an EDS server's bbolt file and keeps its damage from
// becoming the server's: the file's structure is checked before bbolt reads it,
// and a panic or a page fault in a transaction is an error.
package database

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"runtime/debug"
	"sync/atomic"

	"go.etcd.io/bbolt"

	"github.com/rollcall-fleet/rollcall/internal/panics"
)

// ErrBroken is returned for every write after one that left bbolt's locks taken.
var ErrBroken = errors.New("the database can no longer be written: an earlier write failed halfway")

// DamagedError says that a database file cannot be used, and why.
type DamagedError struct {
	Path   string
	Reason error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("database %s is damaged: %v", e.Path, e.Reason)
}

// Unwrap returns the reason.
func (e *DamagedError) Unwrap() error { return e.Reason }

// DB is an open database. Any goroutine may call its methods.
type DB struct {
	bolt    *bbolt.DB
	file    fs.FileInfo // of the file as it was opened
	logger  *slog.Logger
	panics  panics.Catcher
	broken  atomic.Bool
	faulted atomic.Bool // a page could not be read; logged once
}

// View runs fn in a read transaction.
func (d *DB) View(fn func(*bbolt.Tx) error) error {
	return d.guard(func() error { return d.bolt.View(fn) })
}

// Update runs fn in a write transaction. What fn did is rolled back when it fails
// or panics.
func (d *DB) Update(fn func(*bbolt.Tx) error) error {
	if d.broken.Load() {
		return ErrBroken
	}
	if err := d.inPlace(); err != nil {
		return err
	}
	finished := false
	defer func() {
		if !finished { // bbolt itself panicked, in a commit or a rollback
			d.broken.Store(true)
		}
	}()
	return d.guard(func() error {
		err := d.bolt.Update(func(tx *bbolt.Tx) error {
			return d.guard(func() error { return fn(tx) })
		})
		finished = true
		return err
	})
}

// inPlace returns an error if the open file is no longer the one at its path: what is
// written to it would be lost at the next start.
func (d *DB) inPlace() error {
	now, err := os.Stat(d.bolt.Path())
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the database %s was deleted while in use: restart this server", d.bolt.Path())
	case err != nil:
		return fmt.Errorf("stat the database: %w", err)
	case !os.SameFile(d.file, now):
		return fmt.Errorf("the database %s was replaced while in use: restart this server", d.bolt.Path())
	}
	return nil
}

// guard turns a panic of fn into an error, and a fault on a page that the disk
// cannot deliver into a panic.
func (d *DB) guard(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if f, ok := v.(interface{ Addr() uintptr }); ok && f.Addr() >= nilPage {
			err = d.fault()
			return
		}
		d.panics.Report(panics.Database, v)
		err = fmt.Errorf("panic in a database transaction: %v", v)
	}()
	return fn()
}

// nilPage is where addresses of what nil points to end; a fault there is a bug.
const nilPage = 4096

// errFault is what becomes of a page fault.
var errFault = errors.New("a page of the database could not be read from disk")

// fault says once what happened; every write after it may say it again.
func (d *DB) fault() error {
	if !d.faulted.Swap(true) {
		d.logger.Error("a page of the database could not be read from disk, so overrides cannot be changed: check the disk, then restart this server", "path", d.bolt.Path())
	}
	return errFault
}

// Close closes the file. It waits for transactions that have not ended.
func (d *DB) Close() error {
	if d.broken.Load() { // bbolt would wait for ever for its own locks
		return ErrBroken
	}
	return d.bolt.Close()
}
