package faults

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip"
)

// Later is an upstream of a later version in this process: its metadata has fields that
// this version does not know.
type Later struct {
	ID   uuid.UUID
	pool *gossip.Pool
	srv  *http.Server
	done chan struct{} // closed once srv serves no more
}

// NewLater starts one that answers with its id and joins through seed.
func NewLater(pool, seed, service string) (*Later, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &Later{ID: uuid.New(), done: make(chan struct{})}
	l.srv = &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(fleet.IDHeader, l.ID.String())
		_, _ = io.WriteString(w, l.ID.String())
	})}
	l.pool, err = gossip.Start(gossip.Options{
		Fleet: pool, Bind: netip.MustParseAddrPort("127.0.0.1:0"), Seeds: []string{seed},
		Member: fleet.Member{
			ID: l.ID, Role: fleet.RoleUpstream, Started: time.Now(), Service: service,
			Endpoint: fleet.Endpoint{Addr: netip.MustParseAddrPort(ln.Addr().String()), Weight: 1, Health: fleet.Healthy},
			Probe:    fleet.Probe{Kind: fleet.ProbeHTTP, Path: fleet.DefaultHealthPath},
			Unknown:  `"y":250,"later":{"than":["this",1]}`,
		},
	})
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	go func() {
		defer close(l.done)
		_ = l.srv.Serve(ln) // until Close
	}()
	return l, nil
}

// Leave says goodbye to the pool.
func (l *Later) Leave(ctx context.Context) error { return l.pool.Leave(ctx) }

// Close ends all of it.
func (l *Later) Close() {
	_ = l.pool.Close()
	_ = l.srv.Close()
	<-l.done
}
