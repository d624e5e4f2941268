// Package envoy is the proxy's side of rollcall: it writes the bootstrap that points an
// Envoy at the EDS servers, finds the Envoy binary, and runs it.
//
// Import it to generate bootstraps in a tool of your own, or to run an Envoy in a test.
package envoy
