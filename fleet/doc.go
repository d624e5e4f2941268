// Package fleet is the vocabulary of rollcall: members of the gossip pool, the
// services they offer, the endpoints that serve them, and the codec for the 512
// bytes of metadata with which a member describes itself. It holds no state and
// does no I/O; everything else in the module speaks in its types.
package fleet
