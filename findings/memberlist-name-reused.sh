#!/usr/bin/env bash
# Guess: a node that was killed and comes back under its old name, with another port, is
# a member again as soon as it has joined; at the latest once its old self is dead.
# What happens: Join returns 1 and no error, and the node itself sees the whole pool, but
# the others do not list it: first because the name is taken, and when they have given
# its old self up, still not. All they do is log "Conflicting address for b". With the
# LAN defaults it became visible after 52 s. With DeadNodeReclaimTime (0 unless set) it
# is visible soon after the old one is declared dead.
# Versions: memberlist 0.7.0 with DefaultLANConfig, go 1.26.
# For users: fixed names (host names) with ports chosen at start lose a restarted node
# for a minute. Put something unique into the name at each start, or set DeadNodeReclaimTime.
# Seen:
#   DeadNodeReclaimTime 0 (default): Join returned 1, <nil>; it sees the pool: true; others gave up its old self: true; they list the new one within 12 s of that: false
#   DeadNodeReclaimTime 1ms: Join returned 1, <nil>; it sees the pool: true; others gave up its old self: true; they list the new one within 12 s of that: true
#   as stated: a name that a dead node had is not taken over at another port, though Join succeeds
. "$(dirname "$0")/lib/begin.sh"
memberlist_070 <<'GO'
package main

import (
	"fmt"
	"io"
	"log"
	"os"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"
)

func node(name string, reclaim time.Duration) *memberlist.Memberlist {
	c := memberlist.DefaultLANConfig()
	c.Name, c.BindAddr, c.BindPort, c.DeadNodeReclaimTime = name, "127.0.0.1", 0, reclaim
	c.PushPullInterval = 5 * time.Second // more attempts than the default of 30 s makes
	c.Logger = log.New(io.Discard, "", 0)
	m, err := memberlist.Create(c)
	if err != nil {
		panic(err)
	}
	return m
}

func address(of *memberlist.Memberlist, name string) string {
	for _, n := range of.Members() {
		if n.Name == name {
			return n.Address()
		}
	}
	return ""
}

func until(d time.Duration, good func() bool) bool {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if good() {
			return true
		}
	}
	return false
}

type result struct {
	joined                int
	err                   error
	dead, visible, itself bool
}

func run(reclaim time.Duration) (r result) {
	a, b := node("a", reclaim), node("b", reclaim)
	if _, err := b.Join([]string{a.LocalNode().Address()}); err != nil || !until(10*time.Second, func() bool { return address(a, "b") != "" }) {
		panic("the first b did not join")
	}
	b.Shutdown() // without Leave, as when killed
	again := node("b", reclaim)
	old := b.LocalNode().Address()
	r.joined, r.err = again.Join([]string{a.LocalNode().Address()})
	r.dead = until(30*time.Second, func() bool { return address(a, "b") != old })
	r.visible = until(12*time.Second, func() bool { return address(a, "b") == again.LocalNode().Address() })
	r.itself = len(again.Members()) == 2
	return r
}

func main() {
	var wg sync.WaitGroup
	var byDefault, reclaiming result
	wg.Go(func() { byDefault = run(0) })
	wg.Go(func() { reclaiming = run(time.Millisecond) })
	wg.Wait()
	for _, x := range []struct {
		what string
		result
	}{{"DeadNodeReclaimTime 0 (default)", byDefault}, {"DeadNodeReclaimTime 1ms", reclaiming}} {
		fmt.Printf("%s: Join returned %d, %v; it sees the pool: %v; others gave up its old self: %v; they list the new one within 12 s of that: %v\n",
			x.what, x.joined, x.err, x.itself, x.dead, x.visible)
	}
	want := result{joined: 1, dead: true, itself: true}
	if byDefault != want || !reclaiming.visible {
		fmt.Println("changed: see above")
		os.Exit(1)
	}
	fmt.Println("as stated: a name that a dead node had is not taken over at another port, though Join succeeds")
}
GO
