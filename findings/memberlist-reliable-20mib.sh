#!/usr/bin/env bash
# Guess: SendReliable returns nil when the message has been taken by the peer, or at
# least an error for a message that no peer takes.
# What happens: a message of 20 MiB arrives; one byte more is read by no peer (it closes
# the connection and logs "user message length (20971521) exceeds limit"), and the
# sender still gets nil, at 21 MiB too. The limit is new since 0.6; 0.5.3 took them.
# Versions: memberlist 0.7.0, go 1.26.
# For users: nothing is known from a nil; what must arrive needs an answer of its own,
# and a sender checks the size. It matters where the state of a service or a list of
# overrides is one message.
# Seen:
#   20971520 bytes: SendReliable returned <nil>, arrived: true
#   20971521 bytes: SendReliable returned <nil>, arrived: false
#   22020096 bytes: SendReliable returned <nil>, arrived: false
#   as stated: a reliable message over 20 MiB is dropped by the receiver while the sender gets nil
. "$(dirname "$0")/lib/begin.sh"
memberlist_070 <<'GO'
package main

import (
	"fmt"
	"io"
	"log"
	"os"
	"time"

	"github.com/hashicorp/memberlist"
)

type delegate struct{ got chan int }

func (d delegate) NodeMeta(int) []byte             { return nil }
func (d delegate) NotifyMsg(m []byte)              { d.got <- len(m) }
func (d delegate) GetBroadcasts(int, int) [][]byte { return nil }
func (d delegate) LocalState(bool) []byte          { return nil }
func (d delegate) MergeRemoteState([]byte, bool)   {}

func node(name string, got chan int) *memberlist.Memberlist {
	c := memberlist.DefaultLANConfig()
	c.Name, c.BindAddr, c.BindPort = name, "127.0.0.1", 0
	c.Delegate, c.Logger = delegate{got}, log.New(io.Discard, "", 0)
	m, err := memberlist.Create(c)
	if err != nil {
		panic(err)
	}
	return m
}

func main() {
	got := make(chan int, 10)
	a, b := node("a", make(chan int, 10)), node("b", got)
	changed := false
	for _, size := range []int{20 << 20, 20<<20 + 1, 21 << 20} {
		err := a.SendReliable(b.LocalNode(), make([]byte, size))
		arrived := false
		select {
		case <-got:
			arrived = true
		case <-time.After(5 * time.Second):
		}
		fmt.Printf("%d bytes: SendReliable returned %v, arrived: %v\n", size, err, arrived)
		changed = changed || err != nil || arrived != (size == 20<<20)
	}
	if changed {
		fmt.Println("changed: see above")
		os.Exit(1)
	}
	fmt.Println("as stated: a reliable message over 20 MiB is dropped by the receiver while the sender gets nil")
}
GO
