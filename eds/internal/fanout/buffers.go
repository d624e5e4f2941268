package main

import (
	"sync"

	"google.golang.org/grpc/mem"
)

// dirty is a pool of buffers that are not cleared when they are reused. gRPC's own pool
// clears each, which takes a client longer than reading into it; an Envoy does not clear.
type dirty struct{ pool sync.Pool }

var _ mem.BufferPool = (*dirty)(nil)

// frameSize is the payload of an HTTP/2 frame, in bytes, unless the peer allows more.
const frameSize = 16 << 10

// Get returns n bytes with any content.
func (d *dirty) Get(n int) *[]byte {
	if n > frameSize {
		return new(make([]byte, n))
	}
	b, ok := d.pool.Get().(*[]byte)
	if !ok {
		b = new(make([]byte, frameSize))
	}
	*b = (*b)[:n]
	return b
}

// Put takes a buffer back.
func (d *dirty) Put(b *[]byte) {
	if cap(*b) == frameSize {
		d.pool.Put(b)
	}
}
