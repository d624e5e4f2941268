// Package debug serves what only a user of this machine may see of an EDS
// server: Go's profiles over HTTP, and gRPC's channelz, on one port of loopback.
package debug

import (
	"net/http"
	"net/http/pprof"
	"strings"
	"time"

	channelz "google.golang.org/grpc/channelz/service"

	"google.golang.org/grpc"

	"github.com/rollcall-fleet/rollcall/eds/internal/middleware"
)

// profileMost is the longest profile that can be asked for, with room to send it.
const profileMost = 2 * time.Minute

// NewServer returns the server of the debug port.
func NewServer(opts middleware.Options) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	calls := grpc.NewServer()
	channelz.RegisterChannelzServiceToServer(calls)
	both := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
			calls.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler: middleware.New(both, opts), Protocols: protocols,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second, WriteTimeout: profileMost, MaxHeaderBytes: 64 << 10,
	}
}
