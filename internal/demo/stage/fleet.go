package stage

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// stopTimeout bounds how long one process may take to stop.
const stopTimeout = 10 * time.Second

// Options says where a fleet lives.
type Options struct {
	Binary    string    // rollcall
	Envoy     string    // the Envoy binary; "" lets rollcall look for it
	Dir       string    // for logs and the EDS servers' data; the caller removes it
	Addresses Addresses // of the first EDS server and the first Envoy
	Service   string    // "" is myservice
	Pool      string    // the name of the gossip pool; "" is rollcall's default
}

var pools atomic.Int32 // names that OwnPool gave

// OwnPool returns a name for a gossip pool that no other has. Fleets that come and
// go side by side on one machine need it: a member's port may be another fleet's a
// moment after it died, while its own fleet still looks for it there.
func OwnPool() string { return fmt.Sprintf("stage-%d-%d", os.Getpid(), pools.Add(1)) }

// Fleet starts processes and knows which run. Its methods may be called from any
// goroutine. A caller that starts a process through it ends with Stop or Kill.
type Fleet struct {
	Options
	API    *API    // of the EDS server at Addresses
	Admin  *Admin  // of the Envoy at Addresses
	Client *Client // of the same Envoy, a connection for each request

	mu        sync.Mutex
	count     int
	upstreams []*Process
	envoys    []*Process
	servers   []*Process
}

// NewFleet starts nothing.
func NewFleet(o Options) *Fleet {
	if o.Service == "" {
		o.Service = "myservice"
	}
	return &Fleet{
		Options: o,
		API:     NewAPI(o.Addresses.HTTP),
		Admin:   NewAdmin(o.Addresses.Admin),
		Client:  NewClient(o.Addresses.Listener, false),
	}
}

// Upstream is a running `rollcall upstream`.
type Upstream struct {
	*Process
	Port int
	ID   string // its uuid
}

// StartEDS starts an EDS server at the fleet's addresses and returns without
// waiting for it. Started again, it finds the data of the one before.
func (f *Fleet) StartEDS(args ...string) (*Process, error) {
	return f.StartEDSAt(f.Addresses, args...)
}

// StartEDSAt is StartEDS at other addresses; its data is kept apart.
func (f *Fleet) StartEDSAt(a Addresses, args ...string) (*Process, error) {
	_, port, _ := net.SplitHostPort(a.HTTP)
	flags := []string{"eds", "--http", a.HTTP, "--xds", a.XDS, "--gossip", a.Gossip,
		"--data-dir", filepath.Join(f.Dir, "eds-"+port)}
	return f.start(&f.servers, "eds-"+port, slices.Concat(flags, f.pool(), args))
}

// EDS starts an EDS server and waits until it is ready.
func (f *Fleet) EDS(ctx context.Context, args ...string) (*Process, error) {
	p, err := f.StartEDS(args...)
	if err != nil {
		return nil, err
	}
	return p, p.Await(ctx, f.API.Ready)
}

// StartUpstream starts an upstream on port and returns without waiting for it. It
// joins the fleet's EDS server, and serves the fleet's service, unless args say
// otherwise.
func (f *Fleet) StartUpstream(port int, args ...string) (*Process, error) {
	flags := []string{"upstream", "-p", strconv.Itoa(port), "--service", f.Service}
	if !slices.Contains(args, "--join") { // given again, it would add to the seeds
		flags = append(flags, "--join", f.Addresses.Gossip)
	}
	return f.start(&f.upstreams, "upstream-"+strconv.Itoa(port), slices.Concat(flags, f.pool(), args))
}

func (f *Fleet) pool() []string {
	if f.Pool == "" {
		return nil
	}
	return []string{"--fleet", f.Pool}
}

// Upstream starts an upstream on port and waits until it answers.
func (f *Fleet) Upstream(ctx context.Context, port int, args ...string) (*Upstream, error) {
	p, err := f.StartUpstream(port, args...)
	if err != nil {
		return nil, err
	}
	u := &Upstream{Process: p, Port: port}
	direct := NewClient(Local(port), false)
	return u, p.Await(ctx, func(ctx context.Context) error {
		a := direct.Get(ctx)
		u.ID = a.ID()
		return a.Failure()
	})
}

// StartEnvoy starts an Envoy over one of rollcall's transports and returns
// without waiting for it.
func (f *Fleet) StartEnvoy(api string, args ...string) (*Process, error) {
	eds := f.Addresses.XDS
	if api == "rest" {
		eds = f.Addresses.HTTP
	}
	flags := []string{"--api", api, "--eds", eds, "--service", f.Service, "--listen", f.Addresses.Listener, "--admin", f.Addresses.Admin}
	return f.runEnvoy("envoy-"+api, append(flags, args...))
}

// StartOwnEnvoy starts an Envoy with a bootstrap file that has its listener and
// admin interface where the Fleet's are, and returns without waiting for it.
func (f *Fleet) StartOwnEnvoy(bootstrap string) (*Process, error) {
	return f.runEnvoy("envoy-own", []string{"--bootstrap", bootstrap})
}

func (f *Fleet) runEnvoy(name string, args []string) (*Process, error) {
	flags := []string{"envoy", "run", "--log-level", "warning"}
	if f.Options.Envoy != "" {
		flags = append(flags, "--envoy", f.Options.Envoy)
	}
	return f.start(&f.envoys, name, append(flags, args...))
}

// Envoy starts an Envoy and waits until it serves.
func (f *Fleet) Envoy(ctx context.Context, api string, args ...string) (*Process, error) {
	p, err := f.StartEnvoy(api, args...)
	if err != nil {
		return nil, err
	}
	return p, p.Await(ctx, f.Admin.Ready)
}

func (f *Fleet) start(list *[]*Process, name string, args []string) (*Process, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count++
	p, err := Start(Command{
		Name: name, Path: f.Binary, Args: args,
		Env:     []string{"TMPDIR=" + f.Dir}, // what a killed process leaves behind goes with the rest
		LogFile: filepath.Join(f.Dir, fmt.Sprintf("%02d-%s.log", f.count, name)),
	})
	if err != nil {
		return nil, err
	}
	*list = append(*list, p)
	return p, nil
}

// Processes returns every process started so far, ended ones too.
func (f *Fleet) Processes() []*Process {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []*Process
	for _, list := range [][]*Process{f.servers, f.envoys, f.upstreams} {
		all = append(all, list...)
	}
	return all
}

// Stop stops the upstreams, then the Envoys, then the EDS servers, each with
// SIGTERM and at most ten seconds. A process that has ended before is no error.
func (f *Fleet) Stop() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return errors.Join(stopAll(f.upstreams), stopAll(f.envoys), stopAll(f.servers))
}

// Kill ends everything at once with SIGKILL.
func (f *Fleet) Kill() {
	for _, p := range f.Processes() {
		p.Kill()
	}
	f.Client.Close()
}

func stopAll(list []*Process) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	errs := make([]error, len(list))
	var wg sync.WaitGroup
	for i, p := range list {
		select {
		case <-p.done:
			continue
		default:
		}
		wg.Go(func() { errs[i] = p.Stop(ctx) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
