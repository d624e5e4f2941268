// Package reload keeps values that are read from files and follows those files.
// A file that has become unreadable or wrong changes nothing: what was good stays
// in force, and the log says so.
package reload

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"
)

// every is how often files are looked at, at most.
const every = time.Second

// Value is a T read from files. Its methods may be called from any goroutine.
type Value[T any] struct {
	logger *slog.Logger
	read   func() (T, error)
	paths  []string

	mu     sync.Mutex // guards what follows
	looked time.Time
	seen   []os.FileInfo // as they were before the last good read; nil for one that is missing
	failed string        // what was wrong with the last read; "": nothing
	value  T
}

// New reads the value for the first time. read opens paths itself; the error is its.
func New[T any](logger *slog.Logger, read func() (T, error), paths ...string) (*Value[T], error) {
	v := &Value[T]{logger: logger, read: read, paths: paths, looked: time.Now()}
	v.seen = v.look()
	var err error
	v.value, err = read()
	return v, err
}

// Get returns the value, from the files as they were a second ago at most.
func (v *Value[T]) Get() T {
	v.mu.Lock()
	defer v.mu.Unlock()
	if time.Since(v.looked) < every {
		return v.value
	}
	v.looked = time.Now()
	// Looked at before it is read: a file that changes in between is read again.
	now := v.look()
	if same(now, v.seen) {
		return v.value
	}
	files := strings.Join(v.paths, " ")
	value, err := v.read()
	if err != nil { // which may pass
		if v.failed != err.Error() {
			v.failed = err.Error()
			v.logger.Error("changed files cannot be used; keeping the previous contents", "files", files, "err", err)
		}
		return v.value
	}
	v.seen, v.failed = now, ""
	v.logger.Info("changed files loaded", "files", files)
	v.value = value
	return value
}

func (v *Value[T]) look() []os.FileInfo {
	seen := make([]os.FileInfo, len(v.paths))
	for i, path := range v.paths {
		if info, err := os.Stat(path); err == nil {
			seen[i] = info
		}
	}
	return seen
}

func same(a, b []os.FileInfo) bool {
	for i := range a {
		if (a[i] == nil) != (b[i] == nil) {
			return false
		}
		if a[i] != nil && !(os.SameFile(a[i], b[i]) && a[i].Size() == b[i].Size() && a[i].ModTime().Equal(b[i].ModTime())) {
			return false
		}
	}
	return true
}

// ReadFile is os.ReadFile for files of at most limit bytes, whatever the file system
// says of their size.
func ReadFile(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s is longer than %d bytes", path, limit)
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}
