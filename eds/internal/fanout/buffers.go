package main

import (
	"sync"

	"google.golang.org/grpc/mem"
)

// dirty is a pool of buffers that it hands out as they came back. gRPC's own clears
// each, which takes a client longer than what it reads into it; an Envoy does not.
type dirty struct{ pool sync.Pool }

var _ mem.BufferPool = (*dirty)(nil)

// frameSize is what HTTP/2 carries in a frame unless somebody asked for more.
const frameSize = 16 << 10

// Get returns n bytes, whatever they hold.
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
