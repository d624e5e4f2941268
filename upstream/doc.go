// Package upstream puts a program's own listener into a rollcall fleet: it joins
// the gossip pool, says which service is served at which address, follows changes
// of weight, tags and health, and drains before it leaves, so that no request is
// lost when the program stops.
//
// [ListenAndServe] does all of it around an [http.Server]. [Register] does the
// registration alone and leaves serving to the caller. The package starts
// goroutines only for a [Registration] and ends them with it, handles no signals
// and never ends the process.
package upstream
