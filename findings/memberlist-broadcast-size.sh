#!/usr/bin/env bash
# Guess: a broadcast queued in a TransmitLimitedQueue is gossiped, in several packets if
# it must be, or an error or a log line says that it is too large.
# What happens: a broadcast of more than 1,395 bytes is never sent and never leaves the
# queue: NumQueued counts it for ever, nothing is logged, Finished is not called. The
# limit is 1,366 bytes once a key is set, and less again with a label (1,354 with one of
# ten letters): a message that was gossiped for years stops when the pool is encrypted.
# Smaller broadcasts queued later are sent.
# Versions: memberlist 0.7.0 with DefaultLANConfig (UDPBufferSize 1400), go 1.26.
# For users: the limit is what GetBroadcasts is given less the overhead; compare before
# queueing, and send what is larger by SendReliable.
# Seen:
#   key of 0 bytes, label "", 1395 bytes: arrived true, in the queue 4 s later: 0
#   key of 0 bytes, label "", 1396 bytes: arrived false, in the queue 4 s later: 1
#   key of 32 bytes, label "", 1366 bytes: arrived true, in the queue 4 s later: 0
#   key of 32 bytes, label "", 1367 bytes: arrived false, in the queue 4 s later: 1
#   key of 32 bytes, label "production", 1354 bytes: arrived true, in the queue 4 s later: 0
#   key of 32 bytes, label "production", 1355 bytes: arrived false, in the queue 4 s later: 1
#   as stated: a broadcast over the limit stays in the queue for ever, and a key or label lowers the limit
. "$(dirname "$0")/lib/begin.sh"
memberlist_070 <<'GO'
package main

import (
	"bytes"
	"fmt"
	"log"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/memberlist"
)

type logged struct {
	sync.Mutex
	strings.Builder
}

func (l *logged) Write(b []byte) (int, error) { l.Lock(); defer l.Unlock(); return l.Builder.Write(b) }

type delegate struct {
	got   chan int
	most  *atomic.Int64 // the most that any one broadcast may have
	queue *memberlist.TransmitLimitedQueue
}

func (d delegate) NodeMeta(int) []byte           { return nil }
func (d delegate) NotifyMsg(m []byte)            { d.got <- len(m) }
func (d delegate) GetBroadcasts(o, limit int) [][]byte {
	d.most.Store(max(d.most.Load(), int64(limit-o)))
	return d.queue.GetBroadcasts(o, limit)
}
func (d delegate) LocalState(bool) []byte        { return nil }
func (d delegate) MergeRemoteState([]byte, bool) {}

type message []byte

func (m message) Invalidates(memberlist.Broadcast) bool { return false }
func (m message) Message() []byte                       { return m }
func (m message) Finished()                             {}

func node(name string, key []byte, label string, l *logged) (*memberlist.Memberlist, delegate) {
	c := memberlist.DefaultLANConfig()
	c.Name, c.BindAddr, c.BindPort, c.SecretKey, c.Label = name, "127.0.0.1", 0, key, label
	c.Logger = log.New(l, "", 0)
	d := delegate{make(chan int, 100), new(atomic.Int64), &memberlist.TransmitLimitedQueue{NumNodes: func() int { return 2 }, RetransmitMult: 2}}
	c.Delegate = d
	m, err := memberlist.Create(c)
	if err != nil {
		panic(err)
	}
	return m, d
}

var changed bool

// try queues one broadcast of the most that fits, which is stated, then one a byte longer.
func try(stated int, key []byte, label string) {
	var l logged
	a, from := node("a", key, label, &l)
	b, to := node("b", key, label, &l)
	if _, err := a.Join([]string{b.LocalNode().Address()}); err != nil {
		panic(err)
	}
	time.Sleep(4 * time.Second) // memberlist's own news of the join takes room at first
	fits := int(from.most.Load())
	changed = changed || fits != stated
	for _, size := range []int{fits, fits + 1} {
		from.queue.QueueBroadcast(message(make([]byte, size)))
		time.Sleep(4 * time.Second)
		arrived := len(to.got) > 0
		for len(to.got) > 0 {
			<-to.got
		}
		fmt.Printf("key of %d bytes, label %q, %d bytes: arrived %v, in the queue 4 s later: %d\n", len(key), label, size, arrived, from.queue.NumQueued())
		changed = changed || arrived != (size == fits) || (from.queue.NumQueued() == 1) != (size > fits)
	}
	from.queue.QueueBroadcast(message("small"))
	select {
	case <-to.got:
	case <-time.After(4 * time.Second):
		changed = true
		fmt.Println("a small one behind it does not arrive")
	}
	l.Lock()
	defer l.Unlock()
	for _, line := range strings.Split(l.String(), "\n") {
		if strings.Contains(line, "[ERR]") || strings.Contains(line, "[WARN]") {
			fmt.Println("logged:", line)
			changed = changed || !strings.Contains(line, "public")
		}
	}
}

func main() {
	key := bytes.Repeat([]byte{7}, 32)
	try(1395, nil, "")
	try(1366, key, "")
	try(1354, key, "production")
	if changed {
		fmt.Println("changed: see above")
		os.Exit(1)
	}
	fmt.Println("as stated: a broadcast over the limit stays in the queue for ever, and a key or label lowers the limit")
}
GO
