package stage

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

// Addresses are the ones a fleet listens on, each host:port on this machine.
type Addresses struct {
	HTTP     string // of the EDS server: API, console, REST discovery
	XDS      string // of the EDS server: gRPC
	Gossip   string // of the EDS server, TCP and UDP
	Listener string // of Envoy
	Admin    string // of Envoy
}

// WellKnown returns the addresses that rollcall's commands use by default.
func WellKnown() Addresses {
	return Addresses{
		HTTP:     "127.0.0.1:8080",
		XDS:      "127.0.0.1:18000",
		Gossip:   "127.0.0.1:7946",
		Listener: "127.0.0.1:10000",
		Admin:    "127.0.0.1:9901",
	}
}

// Fresh returns addresses that are free and that this process has not handed out before.
func Fresh() (Addresses, error) {
	var a Addresses
	for _, p := range []*string{&a.HTTP, &a.XDS, &a.Gossip, &a.Listener, &a.Admin} {
		port, err := FreePort()
		if err != nil {
			return Addresses{}, err
		}
		*p = Local(port)
	}
	return a, nil
}

// CheckFree returns an error that names every address of a that is taken.
func (a Addresses) CheckFree() error {
	var errs []error
	for _, l := range []struct{ what, addr string }{
		{"the EDS server's HTTP port", a.HTTP},
		{"the EDS server's gRPC port", a.XDS},
		{"the EDS server's gossip port", a.Gossip},
		{"Envoy's listener", a.Listener},
		{"Envoy's admin port", a.Admin},
	} {
		if err := CheckFree(l.addr); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", l.what, err))
		}
	}
	return errors.Join(errs...)
}

// CheckFree returns an error that names addr unless it can be had, TCP and UDP.
func CheckFree(addr string) error {
	tcp, err := net.Listen("tcp", addr)
	if err != nil {
		return fmt.Errorf("%s cannot be had, something else may run there: %w", addr, err)
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp", addr)
	if err != nil {
		return fmt.Errorf("%s cannot be had, something else may run there: %w", addr, err)
	}
	return udp.Close()
}

// Local is the address of a port on this machine.
func Local(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// The ports handed out lie below those that Linux gives to outgoing connections
// and to listeners on port 0, so that no other process gets one by chance in the meantime.
const (
	firstPort = 20000
	lastPort  = 31999
)

// handedOut keeps two users in one process from getting the same port.
var handedOut = struct {
	sync.Mutex
	ports map[int]bool
}{ports: make(map[int]bool)}

// FreePort returns a port of this machine that is free, TCP and UDP, and that was
// not handed out before by this process. It may be called from any goroutine.
func FreePort() (int, error) {
	handedOut.Lock()
	defer handedOut.Unlock()
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		if handedOut.ports[port] || CheckFree(Local(port)) != nil {
			continue
		}
		handedOut.ports[port] = true
		return port, nil
	}
	return 0, fmt.Errorf("no free port between %d and %d", firstPort, lastPort)
}
