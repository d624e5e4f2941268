// Package fleet is the vocabulary of rollcall: members of the gossip pool, the services that
// they offer, the endpoints that serve them, and the codec for the 512 bytes of metadata by
// which a member describes itself. It holds no state and does no I/O.
//
// Import it beside any other package of rollcall; their types are made of its types.
package fleet
