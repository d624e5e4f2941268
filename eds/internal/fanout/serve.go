package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// order is what the server's process shall do, as one line of JSON.
type order struct {
	Do      string // one of the constants
	Load    load   // with doLoad
	Service int    // with doChange: which one
	Mark    int    // with doChange: the new value; clients look for it in what they receive
	Clients int    // with doAcked: how many there must be
	Times   int    // with doBurst: how many changes, to Mark, Mark+1 ...; At is of the last
}

const (
	doLoad   = "load"   // serve this from here on
	doChange = "change" // change one endpoint
	doBurst  = "burst"  // change one endpoint many times
	doStats  = "stats"
	doAcked  = "acked" // wait until every client has acknowledged what it was sent
)

// load is what is served: services s0, s1 ..., each with so many endpoints.
type load struct{ Services, Endpoints int }

// answer is the process's answer to an order, as one line of JSON. Times are of the wall
// clock, which the two processes share.
type answer struct {
	Error     string
	GRPC      string        // address, once it listens
	HTTP      string        // of REST
	At        time.Time     // when the change was made
	Blocked   time.Duration // for how long that took the caller
	CPUBefore time.Duration // of the process, before the collection that Live is measured after
	CPU       time.Duration // and after it
	Peak      int           // bytes: the most memory that the process had, by the kernel's count
	Live      int           // bytes: of the Go heap after a collection
	Acked     time.Time     // when the last client had acknowledged
}

// server is one of the caches behind gRPC.
type server interface {
	// serve serves until ctx ends.
	serve(ctx context.Context, lis net.Listener) error
	// load serves so many services, each with its first endpoint marked 0.
	load(load) error
	// change marks the first endpoint of a service, and says when it was ready to.
	change(service, mark int) (time.Time, error)
}

func newServer(kind string) (server, error) {
	switch kind {
	case "rollcall":
		return newRollcall(), nil
	case "linear":
		return newLinear(), nil
	case "snapshot":
		return newSnapshot(), nil
	}
	return nil, fmt.Errorf("-serve is %q: want rollcall, linear or snapshot", kind)
}

// serveCache is the server's process: it ends with its standard input.
func serveCache(ctx context.Context, kind string, in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s, err := newServer(kind)
	if err != nil {
		return err
	}
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	go func() { served <- s.serve(ctx, lis) }()
	hello := answer{GRPC: lis.Addr().String()}
	if h, ok := s.(http.Handler); ok {
		rest, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return err
		}
		web := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
		go func() { _ = web.Serve(rest) }()
		defer web.Close()
		hello.HTTP = rest.Addr().String()
	}
	replies := json.NewEncoder(out)
	if err := replies.Encode(hello); err != nil {
		return err
	}
	orders := json.NewDecoder(bufio.NewReader(in))
	for {
		var o order
		if err := orders.Decode(&o); err != nil {
			break // the driver has ended
		}
		if err := replies.Encode(obey(s, o)); err != nil {
			return err
		}
	}
	cancel()
	return <-served
}

func obey(s server, o order) (a answer) {
	var err error
	switch o.Do {
	case doLoad:
		err = s.load(o.Load)
	case doChange:
		a.At, err = s.change(o.Service, o.Mark)
		a.Blocked = time.Since(a.At)
	case doBurst:
		if r, ok := s.(*rollcall); ok {
			a.At = r.burst(o.Service, o.Mark, o.Times)
		}
	case doStats:
		a, err = stats()
	case doAcked:
		if r, ok := s.(*rollcall); ok {
			a.Acked, err = r.acked(o.Clients)
		}
	}
	if err != nil {
		a.Error = err.Error()
	}
	return a
}

func stats() (answer, error) {
	a := answer{CPUBefore: cpu()}
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return answer{}, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				return answer{}, err
			}
			a.Peak = kb << 10
		}
	}
	runtime.GC()
	runtime.GC() // and what the first one had to finalize
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	a.Live, a.CPU = int(mem.HeapAlloc), cpu()
	return a, nil
}

func cpu() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		return 0 // cannot happen, by getrusage(2)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}
