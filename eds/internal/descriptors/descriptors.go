// Package descriptors shares the file descriptors of an EDS server: probes have a
// bound, so that the ports, gossip and the database always find some, and the log
// says when they run short.
package descriptors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	reserveLeast = 256 // for everything but probes; half of the limit if that is less
	reserveShare = 10  // or one part in so many
	spareShare   = 4   // one part in so many of what probes may have is for what is not needed
	fullEnough   = 0.8 // share of the limit in use that is warned of

	lookEvery = 15 * time.Second
	warnEvery = time.Minute // about the same thing
	unlimited = 1 << 20     // stands for a limit beyond the practical
)

// Options say how many there are.
type Options struct {
	Limit  int // of open files; 0 stands for this process's
	Logger *slog.Logger
}

// Descriptors is the account of them. Any goroutine may call its methods.
type Descriptors struct {
	limit, most int // most for probes
	logger      *slog.Logger

	used    atomic.Int64 // by probes and spare ones
	spare   atomic.Int64
	refused atomic.Int64 // probes

	mu     sync.Mutex
	warned map[string]time.Time // by message
}

// New returns an account in which nothing is used.
func New(opts Options) *Descriptors {
	d := &Descriptors{limit: opts.Limit, logger: opts.Logger, warned: make(map[string]time.Time)}
	if d.limit == 0 {
		d.limit = processLimit()
	}
	d.most = d.limit - min(max(reserveLeast, d.limit/reserveShare), d.limit/2)
	return d
}

// processLimit is the soft limit, which Go has raised to the hard one.
func processLimit() int {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return unlimited
	}
	return int(min(limit.Cur, unlimited))
}

// Most is how many connections probes may have.
func (d *Descriptors) Most() int { return d.most }

// Used is how many they have.
func (d *Descriptors) Used() int { return int(d.used.Load()) }

// Refused is how many they were refused, since the start.
func (d *Descriptors) Refused() int { return int(d.refused.Load()) }

// Dial makes a connection for a probe. At the bound it fails as it would if there
// were no descriptors at all, which proves nothing about an endpoint.
func (d *Descriptors) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	give, err := d.Take()
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", address, err)
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		give()
		return nil, err
	}
	return &counted{Conn: conn, leave: give}, nil
}

// Take takes a descriptor for a connection that a probe needs, or fails as Dial does.
// give returns it, once.
func (d *Descriptors) Take() (give func(), err error) {
	if d.used.Add(1) > int64(d.most) {
		d.used.Add(-1)
		d.refused.Add(1)
		d.warn("probes use up their share of file descriptors: some endpoints are not probed and stay as they are; raise the limit of open files (ulimit -n, LimitNOFILE)",
			"probe_connections", d.most, "limit", d.limit)
		return nil, fmt.Errorf("%d probe connections: %w", d.most, syscall.EMFILE)
	}
	return sync.OnceFunc(func() { d.used.Add(-1) }), nil
}

// TakeSpare takes a descriptor for a connection to a member that this server can do
// without, from a small part of what probes may have. give returns it, once.
func (d *Descriptors) TakeSpare() (give func(), err error) {
	give = sync.OnceFunc(func() {
		d.used.Add(-1)
		d.spare.Add(-1)
	})
	if used, spare := d.used.Add(1), d.spare.Add(1); used > int64(d.most) || spare > int64(d.most/spareShare) {
		give()
		return nil, fmt.Errorf("%d spare connections at most: %w", d.most/spareShare, syscall.EMFILE)
	}
	return give, nil
}

// counted is a connection that is in the account until it is closed.
type counted struct {
	net.Conn
	leave func()
}

// Close implements net.Conn.
func (c *counted) Close() error {
	defer c.leave()
	return c.Conn.Close()
}

// Listener returns lis; the log says when it cannot accept for lack of descriptors,
// which those who call Accept try again in silence.
func (d *Descriptors) Listener(lis net.Listener) net.Listener { return listener{lis, d} }

type listener struct {
	net.Listener
	d *Descriptors
}

// Accept implements net.Listener.
func (l listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if Lacking(err) {
		l.d.warn("a connection cannot be accepted for lack of resources: raise the limit of open files (ulimit -n, LimitNOFILE)",
			"address", l.Addr(), "limit", l.d.limit, "err", err)
	}
	return conn, err
}

// Lacking reports whether err says that this process, or its machine, has not what
// it takes for a connection.
func Lacking(err error) bool {
	for _, own := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, own) {
			return true
		}
	}
	return false
}

// Run warns while most of the limit is used, until ctx ends.
func (d *Descriptors) Run(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		d.look(open())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// open counts the open files of this process. Where there is none left to count
// them with, or no folder of them, it returns the error.
func open() (int, error) {
	folder, err := os.Open("/dev/fd")
	if err != nil {
		return 0, err
	}
	defer folder.Close()
	names, err := folder.Readdirnames(-1)
	return len(names), err
}

func (d *Descriptors) look(used int, err error) {
	if Lacking(err) {
		used, err = d.limit, nil
	}
	if err == nil && float64(used) >= fullEnough*float64(d.limit) {
		d.warn("most file descriptors are in use: raise the limit of open files (ulimit -n, LimitNOFILE)", "used", used, "limit", d.limit)
	}
}

// warn logs, but not the same message again within warnEvery.
func (d *Descriptors) warn(message string, attrs ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if last, before := d.warned[message]; before && time.Since(last) < warnEvery {
		return
	}
	d.warned[message] = time.Now()
	d.logger.Warn(message, attrs...)
}
