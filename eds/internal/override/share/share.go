// Package share replicates overrides among EDS servers. What is set at one server is
// sent to each other one at once; and each pair compares sums of all that
// they hold when they meet and every second, and sends what the other one lacks.
// The rule of who wins is override's; a message that is lost costs a second.
package share

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/internal/latest"
)

const (
	compareEvery = time.Second
	compareMost  = 10 * time.Second // between two exchanges with a server that does not come to agree
	inboxBytes   = 16 << 20         // received and not yet looked at
	warnEvery    = time.Minute      // about the same thing
)

// Store is what is shared.
type Store interface {
	Server() uuid.UUID
	Digest() override.Digest
	Held(wanted func(bucket byte) bool) []override.Override
	Merge(others []override.Override) ([]override.Override, error)
	Made() <-chan struct{}
	TakeMade() []override.Override
}

// Options are the parts of a Sharer.
type Options struct {
	Self   uuid.UUID // in the pool
	Store  Store
	Send   func(to *fleet.Member, b []byte) error // bounded in time; called from several goroutines
	Logger *slog.Logger
}

// Sharer shares the overrides of one EDS server.
type Sharer struct {
	Options
	members latest.Value[[]*fleet.Member]
	arrived latest.Signal

	mu    sync.Mutex // guards what follows
	inbox []letter
	size  int // bytes in inbox

	behind atomic.Int32 // how many peers were never found to hold the same

	// Owned by Run.
	peers  map[uuid.UUID]*peer
	sent   chan result
	warned map[string]time.Time
}

// letter is a message and who sent it.
type letter struct {
	from *fleet.Member
	b    []byte
}

// New returns a Sharer that does nothing until Run.
func New(opts Options) *Sharer {
	return &Sharer{
		Options: opts, members: latest.New[[]*fleet.Member](), arrived: latest.NewSignal(),
		peers: make(map[uuid.UUID]*peer), sent: make(chan result), warned: make(map[string]time.Time),
	}
}

// Members receives who is in the pool. It never blocks; it has one caller at a time,
// and the slice must not be modified afterwards.
func (s *Sharer) Members(members []*fleet.Member) {
	s.members.Put(members)
}

// Receive takes a message from another EDS server, and keeps it. It never blocks:
// what is too much is dropped, and sent again. Any goroutine may call it.
func (s *Sharer) Receive(from *fleet.Member, b []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.size+len(b) > inboxBytes {
		return
	}
	s.inbox, s.size = append(s.inbox, letter{from, b}), s.size+len(b)
	s.arrived.Set()
}

// Run shares until ctx ends, and waits for what is being sent.
func (s *Sharer) Run(ctx context.Context) {
	var sending sync.WaitGroup
	defer sending.Wait()
	tick := time.NewTicker(compareEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case members := <-s.members:
			s.meet(members)
		case <-s.Store.Made():
			s.spread(s.Store.TakeMade())
		case <-s.arrived:
			s.read(time.Now())
		case r := <-s.sent:
			s.done(r)
		case <-tick.C:
			for _, p := range s.peers {
				s.compare(p)
			}
		}
		behind := int32(0)
		for _, p := range s.peers {
			s.send(ctx, &sending, p)
			if !p.agreed {
				behind++
			}
		}
		s.behind.Store(behind)
	}
}

// Behind reports whether some EDS server in the pool may know overrides that this
// one has never seen. Any goroutine may call it.
func (s *Sharer) Behind() bool { return s.behind.Load() > 0 }

// meet learns who the other EDS servers are, and compares with the new ones.
func (s *Sharer) meet(members []*fleet.Member) {
	there := make(map[uuid.UUID]bool)
	for _, m := range members {
		if m.Role != fleet.RoleEDS || m.Liveness != fleet.Alive || m.Quarantine != "" || m.ID == s.Self {
			continue
		}
		there[m.ID] = true
		if p := s.peers[m.ID]; p != nil {
			p.member = m
			continue
		}
		s.peers[m.ID] = &peer{member: m}
		s.compare(s.peers[m.ID])
	}
	for id := range s.peers {
		if !there[id] {
			delete(s.peers, id)
		}
	}
}

// compare sends p the sums. One side of a pair is enough.
func (s *Sharer) compare(p *peer) {
	if p.member.ID.String() < s.Self.String() {
		s.sums(p)
	}
}

// sums sends p the sums, and asks for its own unless both were the same once.
func (s *Sharer) sums(p *peer) {
	k := kindDigest
	if !p.agreed {
		k = kindAsk
	}
	p.push(encodeDigest(k, s.Store.Digest()))
}

// spread sends what was set here to all servers.
func (s *Sharer) spread(made []override.Override) {
	for _, p := range s.peers {
		p.made(made)
	}
}

// read looks at everything that has arrived: overrides in one write, before sums are
// compared; but what other servers hold before that, since what was made here and is
// overtaken by these overrides is sent to servers that never received it.
func (s *Sharer) read(now time.Time) {
	s.mu.Lock()
	inbox := s.inbox
	s.inbox, s.size = nil, 0
	s.mu.Unlock()
	var overrides []override.Override
	var others []letter
	for _, l := range inbox {
		if holds(l) {
			s.warn(now, l.from, s.answer(now, l))
			continue
		}
		if len(l.b) == 0 || kind(l.b[0]) != kindOverrides {
			others = append(others, l)
			continue
		}
		list, err := override.Decode(l.b[1:])
		s.warn(now, l.from, err)
		overrides = append(overrides, list...)
	}
	if len(overrides) > 0 {
		defer s.recompare(inbox)
		news, err := s.Store.Merge(overrides)
		s.warn(now, inbox[0].from, err)
		if len(news) > 0 {
			s.Logger.Info("overrides received from another EDS server", "overrides", len(news))
		}
	}
	for _, l := range others {
		s.warn(now, l.from, s.answer(now, l))
	}
}

// holds reports whether a message says what its sender holds.
func holds(l letter) bool {
	return len(l.b) > 0 && (kind(l.b[0]) == kindStamps || kind(l.b[0]) == kindAnswer)
}

// recompare finds out at once whether those that overrides came from hold the same
// now, if that was never so.
func (s *Sharer) recompare(inbox []letter) {
	for _, l := range inbox {
		if p := s.peers[l.from.ID]; p != nil && !p.agreed && len(p.queue) == 0 {
			s.sums(p)
		}
	}
}

// answer does what a message other than overrides asks for.
func (s *Sharer) answer(now time.Time, l letter) error {
	p := s.peers[l.from.ID]
	if p == nil || len(l.b) == 0 { // it sees us before we see it, and will come again
		return nil
	}
	switch k := kind(l.b[0]); k {
	case kindDigest, kindAsk:
		d, err := decodeDigest(l.b[1:])
		if err != nil {
			return err
		}
		sums := [2]override.Digest{d, s.Store.Digest()}
		same := sums[0] == sums[1]
		p.agreed = p.agreed || same
		if p.exchange(now, sums) {
			in := differing(sums)
			p.push(stampsOf(in, s.Store.Held(in.has)).encode(kindStamps))
		} else if same && k == kindAsk {
			p.push(encodeDigest(kindDigest, d))
		}
		return nil
	case kindStamps, kindAnswer:
		theirs, err := decodeStamps(l.b[1:])
		if err != nil {
			return err
		}
		return s.help(p, theirs, k == kindStamps)
	default: // of a later version
		return nil
	}
}

// help sends p what it lacks, and asks it for what is lacking here.
func (s *Sharer) help(p *peer, theirs stamps, ask bool) error {
	held := s.Store.Held(theirs.in.has)
	lacks, wants := compare(held, theirs.held, s.Store.Server())
	if ask && wants {
		p.push(stampsOf(theirs.in, held).encode(kindAnswer))
	}
	messages, err := chunks(lacks)
	for _, b := range messages {
		p.push(b)
	}
	return err
}

// compare says which of the overrides held another server lacks, and whether it has
// some that are to be had. One that was made here and overtaken there is sent too:
// the other server's audit has it then.
func compare(held []override.Override, theirs map[string]override.Stamp, self uuid.UUID) (lacks []override.Override, wants bool) {
	same := 0
	for _, o := range held {
		stamp, ok := theirs[o.ID]
		c := o.Stamp.Compare(stamp)
		if ok {
			same++
			wants = wants || c < 0
		}
		if !ok || c > 0 || c < 0 && o.Stamp.Server == self {
			lacks = append(lacks, o)
		}
	}
	return lacks, wants || same < len(theirs)
}

// warn logs an error, at debug level when it is the same as just before.
func (s *Sharer) warn(now time.Time, from *fleet.Member, err error) {
	if err == nil {
		return
	}
	level := slog.LevelWarn
	if now.Sub(s.warned[err.Error()]) < warnEvery {
		level = slog.LevelDebug
	} else {
		clear(s.warned) // it stays small
		s.warned[err.Error()] = now
	}
	message := "ignoring overrides from another EDS server"
	if errors.Is(err, override.ErrUnwritten) {
		message = "overrides from another EDS server are in force but cannot be written: look at the disk of --data-dir"
	}
	s.Logger.Log(context.Background(), level, message, "server", from.ID, "err", err)
}
