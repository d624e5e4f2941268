package gossip

import (
	"fmt"
	"time"

	"github.com/hashicorp/memberlist"
)

// Profile names a set of memberlist's timers: how fast a crash is seen against
// what it costs. Members of one pool need not agree on it, but should: who probes
// more slowly than the others sees deaths later.
type Profile string

// The profiles. All of them see no false death with 30 % of the packets lost.
const (
	LAN  Profile = "lan"  // one data centre; the default
	WAN  Profile = "wan"  // round trips up to some hundred milliseconds, dear bandwidth
	Fast Profile = "fast" // one rack or one machine
)

// ParseProfile reads a profile's name. Empty stands for LAN.
func ParseProfile(s string) (Profile, error) {
	switch p := Profile(s); p {
	case "":
		return LAN, nil
	case LAN, WAN, Fast:
		return p, nil
	default:
		return "", fmt.Errorf("profile %q is none of lan, wan, fast", s)
	}
}

// Config is memberlist's own LAN or WAN configuration with what measured better, made
// at each call, a new one.
func (p Profile) Config() *memberlist.Config {
	switch p {
	case WAN:
		return wan()
	case Fast:
		return fast()
	default:
		return lan()
	}
}

// lan sees a crash in about half the time that memberlist's own LAN profile
// takes, and 30 % of packet loss or a starved CPU leads to no false death.
func lan() *memberlist.Config {
	c := memberlist.DefaultLANConfig() // QueueCheckInterval is set; at zero it burns a core
	c.ProbeInterval = 500 * time.Millisecond
	c.ProbeTimeout = 250 * time.Millisecond
	c.SuspicionMult = 3
	c.SuspicionMaxTimeoutMult = 4
	c.GossipInterval = 100 * time.Millisecond
	c.RetransmitMult = 6
	c.PushPullInterval = 5 * time.Second
	c.TCPTimeout = 3 * time.Second
	c.EnableCompression = false // it is most of the cost of gossip
	c.HandoffQueueDepth = 4096
	return c
}

// wan is memberlist's own WAN profile, changed as lan changes the LAN one.
func wan() *memberlist.Config {
	c := memberlist.DefaultWANConfig()
	c.ProbeInterval = 2 * time.Second
	c.ProbeTimeout = time.Second
	c.SuspicionMult = 4
	c.SuspicionMaxTimeoutMult = 4
	c.GossipInterval = 250 * time.Millisecond
	c.RetransmitMult = 6
	c.PushPullInterval = 15 * time.Second
	c.TCPTimeout = 5 * time.Second // longer would hold up the way back after a partition
	c.EnableCompression = false
	c.HandoffQueueDepth = 4096
	return c
}

// fast probes more often than lan. Probes every 200 ms had false deaths.
func fast() *memberlist.Config {
	c := lan()
	c.ProbeInterval = 300 * time.Millisecond
	c.ProbeTimeout = 150 * time.Millisecond
	c.SuspicionMult = 4
	c.GossipInterval = 50 * time.Millisecond
	c.TCPTimeout = 2 * time.Second
	return c
}
