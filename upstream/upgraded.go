package upstream

import (
	"context"
	"net"
	"sync"
	"syscall"
	"time"
)

const (
	// upgradedLook is how often to look for the end of upgraded connections.
	upgradedLook = 20 * time.Millisecond

	// upgradedMin is how many of them are kept before those that have ended are dropped.
	upgradedMin = 64
)

// upgraded are the connections that handlers took over, as websockets do. The server
// takes no part in them any more, and nobody reports their end: it is looked for.
type upgraded struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{}
	most  int // drop those that have ended when there are more
}

func newUpgraded() *upgraded {
	return &upgraded{conns: make(map[net.Conn]struct{}), most: upgradedMin}
}

func (u *upgraded) add(conn net.Conn) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.conns[conn] = struct{}{}
	if len(u.conns) > u.most {
		u.drop()
		u.most = max(upgradedMin, 2*len(u.conns))
	}
}

// drop drops those that have ended.
func (u *upgraded) drop() {
	for conn := range u.conns {
		if ended(conn) {
			delete(u.conns, conn)
		}
	}
}

// open is how many there are.
func (u *upgraded) open() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.drop()
	return len(u.conns)
}

// wait returns once there are none or ctx ends, and how many there are.
func (u *upgraded) wait(ctx context.Context) int {
	look := time.NewTicker(upgradedLook)
	defer look.Stop()
	for {
		n := u.open()
		if n == 0 || ctx.Err() != nil {
			return n
		}
		select {
		case <-look.C:
		case <-ctx.Done():
		}
	}
}

func (u *upgraded) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for conn := range u.conns {
		_ = conn.Close() // its handler may just have closed it
	}
}

// ended reports whether conn is closed on this side. One that is neither a connection
// of package net nor says by NetConn, as *tls.Conn does, which one it wraps counts as
// ended: there is no way to know.
func ended(conn net.Conn) bool {
	for {
		wrapper, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		conn = wrapper.NetConn()
	}
	c, ok := conn.(syscall.Conn)
	if !ok {
		return true
	}
	raw, err := c.SyscallConn()
	return err != nil || raw.Control(func(uintptr) {}) != nil
}
