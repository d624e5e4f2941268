package xds

import (
	"bytes"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/rollcall-fleet/rollcall/internal/panics"
)

func TestPanicInAStreamEndsThatStreamOnly(t *testing.T) {
	for name, open := range transports {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			var counted atomic.Int32
			s := start(t, Options{
				Allows: func(_, service string) bool {
					if service == "faulty" {
						panic("a bug")
					}
					return true
				},
				Panics: panics.Catcher{
					Logger: slog.New(slog.NewTextHandler(&log, nil)),
					Count:  func(string) { counted.Add(1) },
				},
			})
			s.Update(settled(service("mine", "10.0.0.1:80")))
			other := open(t, s.conn)
			other.subscribe("mine")
			other.ack(next(t, other, "1", "mine: 10.0.0.1:80"))
			for range 2 {
				c := open(t, s.conn)
				c.subscribe("faulty")
				wantEnd(t, c, codes.Internal, "the log of this EDS server has the cause")
			}
			s.Update(settled(service("mine", "10.0.0.1:80", "10.0.0.2:80")))
			next(t, other, "2", "mine: 10.0.0.1:80, 10.0.0.2:80")
			if counted.Load() != 2 {
				t.Errorf("%d panics were counted", counted.Load())
			}
			if got := log.String(); strings.Count(got, "level=ERROR") != 2 || !strings.Contains(got, "panic_test.go") {
				t.Errorf("the log is %s", got)
			}
		})
	}
}
