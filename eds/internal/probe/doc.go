// Package probe holds a standing connection to each endpoint and says what can be
// concluded from its answers, its silence and its breaking. A refused connection
// is strong evidence of death. The gossip port and a challenge to the process itself
// make it proof, within about a millisecond, or contradict it. Silence proves nothing
// by itself, so it is weighed against the silence of others, against what further
// witnesses say, and against the chance that this process was itself asleep.
// What is done about a verdict is the registry's business.
//
// One goroutine, the loop, owns all state; each connection has one that reads it.
// What an endpoint costs is that connection: about 11 KB of memory and, at one
// probe a second, some 40 µs of processor time.
package probe
