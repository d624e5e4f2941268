package panics

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

func TestPanicIsLoggedWithItsStackCountedAndEnded(t *testing.T) {
	var log bytes.Buffer
	counted := ""
	c := Catcher{Logger: slog.New(slog.NewTextHandler(&log, nil)), Count: func(where string) { counted += where }}
	var got any
	func() {
		defer c.Catch(XDS, func(v any) { got = v })
		faulty()
	}()
	if got != "a bug" || counted != XDS {
		t.Errorf("it panicked with %v and was counted as %q", got, counted)
	}
	for _, want := range []string{"level=ERROR", "where=xds", "a bug", "faulty"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log has no %q: %s", want, log.String())
		}
	}
}

func TestNormalReturnIsUnchanged(t *testing.T) {
	c := Catcher{Count: func(string) { t.Error("something was counted") }}
	func() { defer c.Catch(HTTP, func(any) { t.Error("something was caught") }) }()
}

func TestZeroCatcherRecovers(t *testing.T) {
	func() {
		defer Catcher{}.Catch(Gossip, nil)
		faulty()
	}()
}

func faulty() { panic("a bug") }
