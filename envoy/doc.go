// Package envoy is the proxy's side of rollcall: it writes the bootstrap that
// points an Envoy at the EDS servers, finds the Envoy binary, and runs it. It
// knows Envoy's configuration and nothing of how the servers work.
package envoy
