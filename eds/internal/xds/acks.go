package xds

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/rollcall-fleet/rollcall/internal/text"
)

// The bounds of what is kept of a client's requests.
const (
	maxPending = 16   // responses of one delta stream that wait for their ACK
	maxDetail  = 1000 // bytes of a NACK's reason
)

// acks knows what one client has been sent and what it has acknowledged, by
// name. Versions identify content, and content may return to an older one; what a
// client has seen is therefore known by the push sequence number: a client whose
// sequence number for a name is n acknowledged the content that was current at n.
// All methods may be called from any goroutine.
type acks struct {
	most int // names that are kept; 0 stands for DefaultMaxNames

	mu       sync.Mutex
	services standings
	unacked  unacked
	pending  []sentResponse // waiting for their ACK, oldest first
	nack     *NACK
}

// item is one assignment in a response.
type item struct {
	name, version string
	seq           uint64 // as of which it is current too, if later than the response; see advance
}

// sentResponse is a response that was sent and is neither accepted nor refused yet.
type sentResponse struct {
	nonce   string
	version string // of the response
	seq     uint64
	items   []item
}

// subscribe starts following names.
func (a *acks) subscribe(names []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.services.add(names, cmp.Or(a.most, DefaultMaxNames))
}

// unsubscribe forgets names.
func (a *acks) unsubscribe(names []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, name := range names {
		if st := a.services.find(name); st != nil {
			a.unacked.forget(st.name)
		}
	}
	a.services.remove(names)
}

// keep forgets all names but these.
func (a *acks) keep(names nameList) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.services = slices.DeleteFunc(a.services, func(st standing) bool {
		drop := !names.has(st.name.Value())
		if drop {
			a.unacked.forget(st.name)
		}
		return drop
	})
}

// pushed notes a response that is about to be sent. With replaces, it replaces the
// pending ones, as state of the world does; else they stay pending, as in delta.
func (a *acks) pushed(s sentResponse, replaces bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if replaces {
		a.pending = a.pending[:0]
	}
	if len(a.pending) == maxPending { // a client that asks again and never acknowledges: the oldest stays unacknowledged
		a.pending = slices.Delete(a.pending, 0, 1)
	}
	a.pending = append(a.pending, s)
	a.noteSent(s.items)
}

// hasCurrent notes that the client came with the current content of the items.
func (a *acks) hasCurrent(seq uint64, items []item) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, i := range items {
		if st := a.services.put(i.name, cmp.Or(a.most, DefaultMaxNames)); st != nil {
			v := contentOf(i.version)
			*st = standing{name: st.name, acked: v, seq: seq}
			a.unacked.forget(st.name)
		}
	}
}

// ack notes that the response with this nonce was accepted. A nonce that is not
// pending is ignored: the request repeats an ACK, or belongs to no response.
func (a *acks) ack(nonce string) (sentResponse, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s, ok := a.take(nonce)
	if ok {
		a.accept(s)
	}
	return s, ok
}

// ackVersion is ack for state of the world, where a request that only changes
// the names repeats the last nonce: it acknowledges only if it also says that
// the response's version is in force.
func (a *acks) ackVersion(nonce, version string) (sentResponse, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := a.find(nonce)
	if i < 0 || a.pending[i].version != version {
		return sentResponse{}, false
	}
	s, _ := a.take(nonce)
	a.accept(s)
	return s, true
}

// waits reports whether the response with this nonce waits for its ACK or NACK.
func (a *acks) waits(nonce string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.find(nonce) >= 0
}

// reject notes that the response with this nonce was refused, and why.
func (a *acks) reject(nonce, detail string, at time.Time) (sentResponse, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s, ok := a.take(nonce)
	if ok {
		a.nack = &NACK{Version: s.version, Detail: text.Clean(clip(detail, maxDetail)), At: at}
	}
	return s, ok
}

// refuse notes a refusal that belongs to no nonce, over REST.
func (a *acks) refuse(version, detail string, at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.nack = &NACK{Version: version, Detail: text.Clean(clip(detail, maxDetail)), At: at}
}

// reported notes the version in a poll over REST, which has no nonce: it is the one that
// the client has in force. current is the current content of what it asks for. A version
// that this server does not remember acknowledges nothing. It reports whether the client
// has acknowledged something new.
func (a *acks) reported(version string, current sentResponse) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch i := slices.IndexFunc(a.pending, func(s sentResponse) bool { return s.version == version }); {
	case version == current.version:
		return a.accept(current)
	case i >= 0:
		return a.accept(a.pending[i])
	default:
		for i := range a.services {
			st := &a.services[i]
			was := a.unacked.of(st)
			st.acked, st.seq = content{}, 0
			a.unacked.note(st, was)
		}
		return false
	}
}

// answered notes what that poll is answered with, in full or as "not modified".
func (a *acks) answered(version string, with sentResponse) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.noteSent(with.items)
	if version == with.version { // "not modified" leaves nothing to wait for
		a.accept(with)
	}
	// What the client has, and what it may have next.
	a.pending = slices.DeleteFunc(a.pending, func(s sentResponse) bool { return s.version != version || s.version == with.version })
	a.pending = append(a.pending, with)
}

// knows reports whether a poller was answered with this version lately.
func (a *acks) knows(version string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.ContainsFunc(a.pending, func(s sentResponse) bool { return s.version == version })
}

// since returns the push sequence number as of which the client has acknowledged
// name; 0 when it has not.
func (a *acks) since(name string) uint64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	if st := a.services.find(name); st != nil {
		return st.seq
	}
	return 0
}

// refusal returns the last NACK, nil if there was none.
func (a *acks) refusal() *NACK {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.nack
}

// list returns how far the client is with each name, sorted, and its last NACK.
func (a *acks) list() ([]ClientService, *NACK) {
	a.mu.Lock()
	defer a.mu.Unlock()
	list := make([]ClientService, 0, len(a.services))
	for i := range a.services {
		list = append(list, a.services[i].view(a.unacked.of(&a.services[i])))
	}
	return list, a.nack
}

// advance notes that what the client has of name, or is being sent, is also current as of
// seq. It reports false, and notes nothing, where that is of another version.
func (a *acks) advance(name, version string, seq uint64) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	st := a.services.find(name)
	if st == nil || a.unacked.of(st).content != contentOf(version) {
		return false
	}
	if a.unacked.of(st).waits == 0 {
		st.seq = max(st.seq, seq)
		return true
	}
	for _, s := range slices.Backward(a.pending) {
		if i := slices.IndexFunc(s.items, func(i item) bool { return i.name == name }); i >= 0 {
			s.items[i].seq = seq
			return s.items[i].version == version
		}
	}
	return false
}

// lower lowers the number of each name that the client asked for to what it has
// acknowledged of it.
func (a *acks) lower(acked map[string]uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.services) < len(acked) {
		for _, st := range a.services {
			if seq, ok := acked[st.name.Value()]; ok {
				acked[st.name.Value()] = min(seq, st.seq)
			}
		}
		return
	}
	for name, seq := range acked {
		if st := a.services.find(name); st != nil {
			acked[name] = min(seq, st.seq)
		}
	}
}

// seq returns the push that the client has acknowledged of name, 0 for none, and
// whether it asked for name.
func (a *acks) seq(name string) (uint64, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	st := a.services.find(name)
	if st == nil {
		return 0, false
	}
	return st.seq, true
}

func (a *acks) noteSent(items []item) {
	now := time.Now().UnixNano()
	if a.unacked == nil {
		a.unacked = make(unacked, len(items))
	}
	for _, i := range items {
		st := a.services.put(i.name, cmp.Or(a.most, DefaultMaxNames))
		if st == nil {
			continue
		}
		a.unacked.note(st, lastSent{contentOf(i.version), cmp.Or(a.unacked.of(st).waits, now)})
	}
}

// accept notes that the client has s, and reports whether the content is new to it: it is
// not where only another service changed.
func (a *acks) accept(s sentResponse) (news bool) {
	for _, i := range s.items {
		seq := max(s.seq, i.seq)
		if st := a.services.find(i.name); st != nil && seq >= st.seq {
			was := a.unacked.of(st)
			news = news || st.acked != contentOf(i.version)
			st.acked, st.seq = contentOf(i.version), seq
			if was.content == st.acked {
				was.waits = 0
			}
			a.unacked.note(st, was)
		}
	}
	return news
}

func (a *acks) take(nonce string) (sentResponse, bool) {
	i := a.find(nonce)
	if i < 0 {
		return sentResponse{}, false
	}
	s := a.pending[i]
	a.pending = slices.Delete(a.pending, i, i+1)
	return s, true
}

func (a *acks) find(nonce string) int {
	if nonce == "" {
		return -1
	}
	return slices.IndexFunc(a.pending, func(s sentResponse) bool { return s.nonce == nonce })
}
