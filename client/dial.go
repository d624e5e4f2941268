package client

import (
	"context"
	"net"
	"time"
)

const (
	// connectTimeout bounds connecting to one address. The look-up of a name before it
	// may take longer: Go's resolver gives a silent nameserver 5 s.
	connectTimeout = 3 * time.Second

	// lookupRoom is what a server gets of a request's time at least, if it is left.
	lookupRoom = 7 * time.Second
)

// dial connects to the first address of a host that accepts.
func dial(ctx context.Context, network, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	d := net.Dialer{Timeout: connectTimeout}
	var conn net.Conn
	for _, ip := range ips {
		if conn, err = d.DialContext(ctx, network, net.JoinHostPort(ip.String(), port)); err == nil {
			return conn, nil
		}
	}
	return nil, err
}
