package upstream_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os/signal"
	"syscall"
	"time"

	"github.com/rollcall-fleet/rollcall/upstream"
)

// A whole program: it serves until it is told to stop, and no request is lost
// when that happens.
func ExampleListenAndServe() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()

	srv := &http.Server{Addr: "10.0.0.9:8080", Handler: http.FileServer(http.Dir("."))}
	err := upstream.ListenAndServe(ctx, srv, upstream.Service{Name: "files", Weight: 50},
		upstream.WithSeeds("10.0.0.5:7946"))
	if err != nil {
		log.Print(err)
	}
}

// Register alone, for a server that the program runs itself.
func ExampleRegister() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Print(err)
		return
	}
	defer ln.Close()

	reg, err := upstream.Register(context.Background(), ln, upstream.Service{Name: "myservice", Weight: 50})
	if err != nil {
		log.Print(err)
		return
	}
	defer reg.Close()

	m := reg.Member()
	fmt.Println(m.Service, m.Endpoint.Weight, m.Endpoint.Health)
	// Output: myservice 50 healthy
}

// A listener on every interface says nothing of where clients reach it.
func ExampleWithAdvertise() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Print(err)
		return
	}
	defer ln.Close()

	reg, err := upstream.Register(context.Background(), ln, upstream.Service{Name: "myservice"},
		upstream.WithAdvertise(netip.MustParseAddrPort("192.0.2.7:80")))
	if err != nil {
		log.Print(err)
		return
	}
	defer reg.Close()

	fmt.Println(reg.Member().Endpoint.Addr)
	// Output: 192.0.2.7:80
}

// Serving until a context ends, with a change of weight on the way.
func ExampleRegistration_Serve() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Print(err)
		return
	}
	reg, err := upstream.Register(context.Background(), ln, upstream.Service{Name: "myservice"},
		upstream.WithDrainTimeout(100*time.Millisecond))
	if err != nil {
		log.Print(errors.Join(err, ln.Close()))
		return
	}
	ctx, stop := context.WithCancel(context.Background())
	mux := http.NewServeMux()
	mux.HandleFunc("POST /promote", func(w http.ResponseWriter, req *http.Request) {
		if err := reg.SetWeight(100); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
		stop() // the request in flight is finished all the same
	})
	go http.Post("http://"+ln.Addr().String()+"/promote", "", nil)

	fmt.Println(reg.Serve(ctx, &http.Server{Handler: mux}))
	fmt.Println(reg.Member().Endpoint.Weight, reg.Member().Endpoint.Health)
	// Output:
	// <nil>
	// 100 draining
}

// A program that cannot serve says so, and gets no requests until it can again.
func ExampleRegistration_SetHealthy() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Print(err)
		return
	}
	defer ln.Close()
	reg, err := upstream.Register(context.Background(), ln, upstream.Service{Name: "myservice"})
	if err != nil {
		log.Print(err)
		return
	}
	defer reg.Close()

	fmt.Println(reg.SetHealthy(false), reg.Member().Endpoint.Health)
	fmt.Println(reg.SetHealthy(true), reg.Member().Endpoint.Health)
	// Output:
	// <nil> unhealthy
	// <nil> healthy
}
