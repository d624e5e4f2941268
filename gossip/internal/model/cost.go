package model

import "github.com/hashicorp/memberlist"

// What memberlist 0.7.0 writes, in bytes, of a member with a uuid for a name, an
// IPv4 address and small numbers: structures in msgpack with the names of their
// fields. Metadata comes on top where it is sent.
const (
	pingSize    = 133
	ackSize     = 19
	suspectSize = 103 // of a death as well
	aliveSize   = 97
	stateSize   = 103 // one member in a push/pull
	headerSize  = 29  // of a push/pull, in each direction
	wordHeader  = 2   // of each message of a packet that holds several
)

// Cost is what one member sends in a pool that is at rest, without the headers of
// IP, UDP and TCP.
type Cost struct {
	Packets       float64 // of probes and their answers, a second
	ProbeBytes    float64 // the same, a second
	PushPullEvery float64 // seconds between two that it begins; it takes part in twice as many
	PushPullBytes float64 // a second, on average
	State         int     // bytes of all members: once in each direction of a push/pull, and of a join
	Word          int     // bytes of one word about one member that joined or changed
	Death         int     // the same of a suspicion or a death
}

// CostOf returns the cost for members whose metadata has meta bytes.
func CostOf(o Options, meta int) Cost {
	rate := 1 / o.Config.ProbeInterval.Seconds()
	every := o.exchangeEvery().Seconds()
	state := o.Members*(stateSize+meta) + headerSize + label(o.Config)
	return Cost{
		Packets:       2 * rate,
		ProbeBytes:    rate * float64(pingSize+ackSize+2*label(o.Config)),
		PushPullEvery: every,
		PushPullBytes: 2 * float64(state) / every,
		State:         state, Word: aliveSize + meta, Death: suspectSize,
	}
}

// label is what the pool's name takes in each packet and stream.
func label(c *memberlist.Config) int { return 2 + len(c.Label) }

// perPacket is how many words of a size fit into one packet of gossip.
func perPacket(c *memberlist.Config, size int) int {
	return max(1, (c.UDPBufferSize-wordHeader-label(c))/(wordHeader+size))
}
