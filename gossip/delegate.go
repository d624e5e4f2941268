package gossip

import (
	"bytes"
	"sync"

	"github.com/hashicorp/memberlist"

	"github.com/rollcall-fleet/rollcall/internal/panics"
)

// delegate gives memberlist this process's metadata, and takes the messages that
// other members send to it.
type delegate struct {
	panics  panics.Catcher
	receive func([]byte) // called by memberlist from several goroutines; must not block or keep the bytes

	mu   sync.Mutex
	meta []byte // replaced, never written: memberlist keeps the slice
}

var _ memberlist.Delegate = (*delegate)(nil)

func newDelegate(meta []byte, receive func([]byte), catcher panics.Catcher) *delegate {
	return &delegate{meta: meta, receive: receive, panics: catcher}
}

// has reports whether meta is the present one.
func (d *delegate) has(meta []byte) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return bytes.Equal(d.meta, meta)
}

// setMeta replaces it.
func (d *delegate) setMeta(meta []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.meta = meta
}

// NodeMeta implements memberlist.Delegate. fleet.Encode has seen to the limit.
func (d *delegate) NodeMeta(int) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.meta
}

// NotifyMsg implements memberlist.Delegate. A message that makes it panic is dropped.
func (d *delegate) NotifyMsg(b []byte) {
	defer d.panics.Catch(panics.Gossip, nil)
	d.receive(b)
}

// GetBroadcasts implements memberlist.Delegate.
func (*delegate) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState implements memberlist.Delegate.
func (*delegate) LocalState(bool) []byte { return nil }

// MergeRemoteState implements memberlist.Delegate.
func (*delegate) MergeRemoteState([]byte, bool) {}
