// Package e2e holds rollcall against the real thing: the tests in it run the
// rollcall binary, the real Envoy and requests through it, each test on ports of
// its own. What is not a test file is shared with the benchmark in bench.
package e2e
