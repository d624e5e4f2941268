package gossip

import (
	"bytes"
	"sync"

	"github.com/hashicorp/memberlist"
)

// delegate gives memberlist this process's metadata, and takes the messages that
// other members send to it.
type delegate struct {
	receive func([]byte) // called by memberlist from several goroutines; must not block or keep the bytes

	mu   sync.Mutex
	meta []byte // replaced, never written: memberlist keeps the slice
}

var _ memberlist.Delegate = (*delegate)(nil)

func newDelegate(meta []byte, receive func([]byte)) *delegate {
	return &delegate{meta: meta, receive: receive}
}

// setMeta reports whether meta is another one than before.
func (d *delegate) setMeta(meta []byte) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if bytes.Equal(d.meta, meta) {
		return false
	}
	d.meta = meta
	return true
}

// NodeMeta implements memberlist.Delegate. fleet.Encode has seen to the limit.
func (d *delegate) NodeMeta(int) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.meta
}

// NotifyMsg implements memberlist.Delegate.
func (d *delegate) NotifyMsg(b []byte) { d.receive(b) }

// GetBroadcasts implements memberlist.Delegate.
func (*delegate) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState implements memberlist.Delegate.
func (*delegate) LocalState(bool) []byte { return nil }

// MergeRemoteState implements memberlist.Delegate.
func (*delegate) MergeRemoteState([]byte, bool) {}
