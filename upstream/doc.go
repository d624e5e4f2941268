// Package upstream registers a server with a rollcall fleet: it joins the gossip pool,
// publishes which service is served at which address, announces changes of weight, tags
// and health, and drains before it leaves, so that no request is lost when the program
// stops.
//
// Import it in a Go server that Envoys should send requests to. [ListenAndServe] does all
// of it around an [http.Server]; [Register] does the registration alone and leaves serving
// to the caller. The package starts goroutines only for a [Registration] and ends them with
// it, handles no signals and never ends the process.
package upstream
