package upstream

import (
	"context"
	"net"
	"sync"
	"syscall"
	"time"
)

const (
	// upgradedLook is the interval at which wait checks for closed connections.
	upgradedLook = 20 * time.Millisecond

	// upgradedMin is the number of connections above which closed ones are dropped.
	upgradedMin = 64
)

// upgraded are the connections that handlers took over, for example for websockets. The
// server no longer tracks them and does not report when they close, so they are polled.
type upgraded struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{}
	most  int // drop closed ones when there are more
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

// drop drops closed connections.
func (u *upgraded) drop() {
	for conn := range u.conns {
		if ended(conn) {
			delete(u.conns, conn)
		}
	}
}

// open is the number of open connections.
func (u *upgraded) open() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.drop()
	return len(u.conns)
}

// wait returns when none is open or ctx ends, with the number that remain open.
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
		_ = conn.Close() // an error means that its handler has just closed it
	}
}

// ended reports whether conn is closed on this side. A connection counts as closed when it is
// neither of package net nor has a NetConn method, as *tls.Conn does: its state cannot be
// known.
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
