package run

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/internal/turns"
	"github.com/rollcall-fleet/rollcall/upstream"
)

// Health is how an endpoint is checked: Check by this process, Probe by EDS servers.
type Health struct {
	Check func(context.Context) error // nil error: healthy
	Probe fleet.Probe
}

// ParseHealth reads how the endpoint at addr is checked:
//
//	/path          GET /path at addr answers 2xx
//	http(s)://...  GET of the URL answers 2xx
//	tcp            addr accepts a connection
//	grpc           grpc.health.v1 at addr reports that the server is SERVING
//	exec:COMMAND   the shell command ends with code 0
//
// EDS servers check a path or tcp themselves too if Register registered the endpoint, but not
// a program of Run. Redirects are not followed.
func ParseHealth(s string, addr netip.AddrPort) (Health, error) {
	noProbe := fleet.Probe{Kind: fleet.ProbeNone}
	command, isExec := strings.CutPrefix(s, "exec:")
	switch {
	case s == "tcp":
		return Health{checkTCP(addr), fleet.Probe{Kind: fleet.ProbeTCP}}, nil
	case s == "grpc":
		return Health{checkGRPC(addr), noProbe}, nil
	case isExec && strings.TrimSpace(command) == "":
		return Health{}, errors.New(`health check "exec:" names no command: want exec:COMMAND`)
	case isExec:
		return Health{checkExec(command), noProbe}, nil
	case strings.HasPrefix(s, "/"):
		return Health{checkHTTP("http://" + addr.String() + s), fleet.Probe{Kind: fleet.ProbeHTTP, Path: s}}, nil
	}
	if u, err := url.Parse(s); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return Health{}, fmt.Errorf("health check %q: want /path, a URL, tcp, grpc or exec:COMMAND", s)
	}
	return Health{checkHTTP(s), noProbe}, nil
}

func (h Health) probe() upstream.Option {
	if h.Probe.Kind == fleet.ProbeHTTP {
		return upstream.WithHealthPath(h.Probe.Path)
	}
	return upstream.WithProbe(h.Probe.Kind)
}

// checkHTTP uses a new connection for each request, since an open connection does not prove
// that the program accepts another.
func checkHTTP(url string) func(context.Context) error {
	client := &http.Client{
		Transport:     &http.Transport{DisableKeepAlives: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return func(ctx context.Context) error {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode/100 != 2 {
			return fmt.Errorf("%s answers %s", url, resp.Status)
		}
		return nil
	}
}

func checkTCP(addr netip.AddrPort) func(context.Context) error {
	return func(ctx context.Context) error {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "tcp", addr.String())
		if err != nil {
			return err
		}
		return conn.Close()
	}
}

// checkGRPC uses a new connection each time: an existing one would back off longer and longer
// between its attempts to reconnect.
func checkGRPC(addr netip.AddrPort) func(context.Context) error {
	return func(ctx context.Context) error {
		conn, err := grpc.NewClient("passthrough:///"+addr.String(), grpc.WithNoProxy(),
			grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return err
		}
		defer conn.Close()
		resp, err := healthgrpc.NewHealthClient(conn).Check(ctx, &healthgrpc.HealthCheckRequest{})
		if err != nil {
			return err
		}
		if resp.Status != healthgrpc.HealthCheckResponse_SERVING {
			return fmt.Errorf("%s reports %s", addr, resp.Status)
		}
		return nil
	}
}

const (
	// soonEvery is the interval of checks until one has passed.
	soonEvery = 100 * time.Millisecond

	// unhealthyAfter is the number of consecutive failures that make a program unhealthy.
	unhealthyAfter = 2
)

// watch runs checks until ctx ends and sends each result. servers returns the number of EDS
// servers that check the endpoint too.
func (e *Endpoint) watch(ctx context.Context, results chan<- error, servers func() int) {
	for passed := false; ctx.Err() == nil; {
		began := time.Now()
		err := e.check(ctx)
		took := time.Since(began)
		passed = passed || err == nil
		select {
		case results <- err:
		case <-ctx.Done():
			return
		}
		pause := min(soonEvery, e.HealthInterval)
		if passed {
			pause = e.pause(time.Now(), err, took, servers())
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
}

// pause is the time from the end of a check, with err, to the next one. This process and the
// EDS servers take turns; after a failure each of them checks, as in eds/internal/probe.
func (e *Endpoint) pause(now time.Time, err error, took time.Duration, servers int) time.Duration {
	switch {
	case servers == 0:
		return e.HealthInterval
	case err != nil:
		return max(e.HealthInterval, took*time.Duration(servers+1))
	default:
		t := turns.Turn{Share: servers, Shares: servers + 1}
		return t.Next(now, e.Address, e.HealthInterval, took).Sub(now)
	}
}

func (e *Endpoint) check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, e.HealthTimeout)
	defer cancel()
	return e.Health.Check(ctx)
}

// tally derives health from the results of checks. It begins unhealthy.
type tally struct {
	healthy  bool
	failures int // in a row
}

// observe adds a result and reports whether it changes the health.
func (t *tally) observe(err error) bool {
	was := t.healthy
	if err == nil {
		t.healthy, t.failures = true, 0
	} else if t.failures++; t.failures >= unhealthyAfter {
		t.healthy = false
	}
	return t.healthy != was
}
