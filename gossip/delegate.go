package gossip

import (
	"bytes"
	"sync"

	"github.com/hashicorp/memberlist"
)

// delegate gives memberlist this process's metadata.
type delegate struct {
	mu   sync.Mutex
	meta []byte // replaced, never written: memberlist keeps the slice
}

var _ memberlist.Delegate = (*delegate)(nil)

func newDelegate(meta []byte) *delegate { return &delegate{meta: meta} }

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
func (*delegate) NotifyMsg([]byte) {}

// GetBroadcasts implements memberlist.Delegate.
func (*delegate) GetBroadcasts(int, int) [][]byte { return nil }

// LocalState implements memberlist.Delegate.
func (*delegate) LocalState(bool) []byte { return nil }

// MergeRemoteState implements memberlist.Delegate.
func (*delegate) MergeRemoteState([]byte, bool) {}
