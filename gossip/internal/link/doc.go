// Package link is the protocol of a stream that an EDS server holds to another
// member, over a TCP connection to the port at which that member gossips.
//
// The server speaks first. Its hello begins with [Preamble], which no stream of
// memberlist's begins with, and names both ends, the fleet and a random number. The
// member answers with a number of its own and a proof that it has a key of the pool;
// the server's proof follows, signed if it has the EDS servers' key. Each proof covers
// all that was said before, so none can be used again. What follows is in frames that
// are encrypted with keys of this stream alone. A pool without keys uses the empty
// key: the same protocol, which then proves nothing.
package link
