package reload

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestAChangedFileIsReadWithinASecondAndABadOneChangesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	read := func() (string, error) {
		b, err := os.ReadFile(path)
		if string(b) == "bad" {
			err = errors.New("it is bad")
		}
		return string(b), err
	}
	if _, err := New(slog.New(slog.DiscardHandler), read, path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("a missing file: error %v", err)
	}
	synctest.Test(t, func(t *testing.T) {
		write(t, path, "one")
		var log strings.Builder
		v, err := New(slog.New(slog.NewTextHandler(&log, nil)), read, path)
		if err != nil || v.Get() != "one" {
			t.Fatal(err)
		}
		for _, step := range []struct{ content, want, logged string }{
			{"two", "two", "files loaded"},
			{"bad", "two", "it is bad"},
			{"", "", "files loaded"},
			{"three", "three", "files loaded"},
		} {
			log.Reset()
			before := v.Get()
			write(t, path, step.content)
			if got := v.Get(); got != before {
				t.Errorf("%q was read at once", got)
			}
			time.Sleep(every)
			if got := v.Get(); got != step.want || strings.Count(log.String(), step.logged) != 1 {
				t.Errorf("after %q: %q, logged %q", step.content, got, log.String())
			}
			time.Sleep(every)
			v.Get()
			if strings.Count(log.String(), "\n") != 1 {
				t.Errorf("logged again: %s", log.String())
			}
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(every)
		if got := v.Get(); got != "three" {
			t.Errorf("without the file: %q", got)
		}
	})
}

func TestAFileThatCouldNotBeReadIsReadAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	broken := false
	read := func() (string, error) {
		if broken {
			return "", errors.New("too many open files")
		}
		b, err := os.ReadFile(path)
		return string(b), err
	}
	synctest.Test(t, func(t *testing.T) {
		write(t, path, "one")
		v, err := New(slog.New(slog.DiscardHandler), read, path)
		if err != nil {
			t.Fatal(err)
		}
		write(t, path, "two")
		broken = true
		time.Sleep(every)
		if got := v.Get(); got != "one" {
			t.Fatalf("got %q", got)
		}
		broken = false
		time.Sleep(every)
		if got := v.Get(); got != "two" {
			t.Errorf("once it can be read: %q", got)
		}
	})
}

func TestAFileIsReadUpToItsLimitWhateverItsSizeIsSaidToBe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, "12345")
	if b, err := ReadFile(path, 5); err != nil || string(b) != "12345" {
		t.Errorf("as long as it may be: %q, %v", b, err)
	}
	for _, long := range []string{path, "/dev/zero"} { // which has no size, and no end
		if _, err := ReadFile(long, 4); err == nil || !strings.Contains(err.Error(), long+" is longer than 4 bytes") {
			t.Errorf("%s: error %v", long, err)
		}
	}
}
