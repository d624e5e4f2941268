package follow

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip"
	"github.com/rollcall-fleet/rollcall/internal/latest"
)

const (
	linksAtOnce    = 64                     // dials under way; each is bounded
	linkFirstRetry = 100 * time.Millisecond // after a link that broke or could not be had; doubles up to linkLastRetry
	linkLastRetry  = 30 * time.Second
)

// Stream is what links need of a [gossip.Link].
type Stream interface {
	Read() (gossip.Report, error)
	Close() error
}

// Links holds a stream to each live upstream that is probed over a connection of its
// own, so that the upstream notices at once when this server ends, and can say at
// once what it announces. Those that are probed over their stream have one already.
type Links struct {
	open   func(context.Context, *fleet.Member) (Stream, error)
	broke  func(*fleet.Member) // its process may have ended; must not block
	logger *slog.Logger
	latest latest.Value[*registry.Snapshot]
	turns  *semaphore.Weighted
	wg     sync.WaitGroup
}

func NewLinks(open func(context.Context, *fleet.Member) (Stream, error), broke func(*fleet.Member), logger *slog.Logger) *Links {
	return &Links{open: open, broke: broke, logger: logger, latest: latest.New[*registry.Snapshot](), turns: semaphore.NewWeighted(linksAtOnce)}
}

// Update hands over a Snapshot. It never blocks; only the loop may call it.
func (l *Links) Update(snap *registry.Snapshot) { l.latest.Put(snap) }

// heldLink is the member that a link leads to, while the link is wanted.
type heldLink struct {
	member *fleet.Member
	stop   context.CancelFunc
}

// Run holds links until ctx ends, and returns after all of them are closed.
func (l *Links) Run(ctx context.Context) {
	defer l.wg.Wait()
	held := make(map[string]heldLink) // by id
	var before []*fleet.Member
	for {
		var snap *registry.Snapshot
		select {
		case <-ctx.Done():
			for _, h := range held {
				h.stop()
			}
			return
		case snap = <-l.latest:
		}
		if len(before) == len(snap.Members) && (len(before) == 0 || &before[0] == &snap.Members[0]) {
			continue // the same list
		}
		before = snap.Members
		l.follow(ctx, held, snap.Members)
	}
}

// follow makes held what members ask for.
func (l *Links) follow(ctx context.Context, held map[string]heldLink, members []*fleet.Member) {
	wanted := make(map[string]bool, len(members))
	for _, m := range members {
		if !wantsLink(m) {
			continue
		}
		id := m.ID.String()
		wanted[id] = true
		if h, ok := held[id]; ok && h.member.Gossip == m.Gossip {
			continue
		} else if ok {
			h.stop()
		}
		one, stop := context.WithCancel(ctx)
		held[id] = heldLink{member: m, stop: stop}
		l.wg.Go(func() { l.dial(one, m, 0) })
	}
	for id, h := range held {
		if !wanted[id] {
			h.stop()
			delete(held, id)
		}
	}
}

// wantsLink reports whether a link is to be held to m by this room.
func wantsLink(m *fleet.Member) bool {
	return m.Role == fleet.RoleUpstream && m.Quarantine == "" && m.Liveness == fleet.Alive && m.Probe.Kind != fleet.ProbeNone
}

// dial opens a link after wait, and has another goroutine read it, which lives long and
// needs little stack.
func (l *Links) dial(ctx context.Context, m *fleet.Member, wait time.Duration) {
	for ; ; wait = min(max(2*wait, linkFirstRetry), linkLastRetry) {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		if l.turns.Acquire(ctx, 1) != nil {
			return
		}
		s, err := l.open(ctx, m)
		l.turns.Release(1)
		if err == nil {
			l.wg.Go(func() { l.read(ctx, m, s) })
			return
		}
		l.logger.Debug("could not open a stream to a member", "id", m.ID, "gossip", m.Gossip, "err", err)
	}
}

// read returns when the link breaks or ctx ends.
func (l *Links) read(ctx context.Context, m *fleet.Member, s Stream) {
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	for {
		if _, err := s.Read(); err != nil {
			break
		}
	}
	_ = s.Close()
	if ctx.Err() == nil {
		l.broke(m)
		l.wg.Go(func() { l.dial(ctx, m, linkFirstRetry) })
	}
}
