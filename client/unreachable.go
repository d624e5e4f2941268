package client

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// ErrUnreachable is the error when there is no answer at all.
var ErrUnreachable = errors.New("no answer")

// notTheAPI is for who asked at another port of an EDS server.
const notTheAPI = "this does not look like the HTTP API, which is at port 8080 unless rollcall eds is told another (18000 is gRPC, 7946 gossip)"

// ErrNotTheAPI is the error when there is an answer, of something else.
var ErrNotTheAPI = errors.New(notTheAPI)

// errNotHTTP stands for an error that quotes the bytes of another protocol.
var errNotHTTP = errors.New("it answers, but not in HTTP")

// unreachable says what there is in place of the API, as far as err tells.
func unreachable(server string, err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	_, noTLS := errors.AsType[tls.RecordHeaderError](err)
	if strings.Contains(err.Error(), "malformed HTTP response") {
		err = errNotHTTP
	}
	switch {
	case errors.Is(err, http.ErrSchemeMismatch):
		err = fmt.Errorf("it speaks no TLS, give its URL with http://: %w", err)
	case noTLS, err == errNotHTTP, errors.Is(err, io.EOF), certificateWanted(err):
		err = fmt.Errorf("%s: %w", notTheAPI, err)
	}
	return fmt.Errorf("%w from the EDS server at %s: %w", ErrUnreachable, server, err)
}

// certificateWanted reports whether err is the refusal of a TLS server of clients
// without a certificate. The HTTP API, which takes tokens too, never insists on one.
func certificateWanted(err error) bool {
	return err != nil && strings.HasSuffix(err.Error(), "tls: certificate required")
}

// wantsTLS is how Go's HTTPS servers answer who speaks no TLS.
const wantsTLS = "Client sent an HTTP request to an HTTPS server."

// foreign is the error of an answer that is not the API's. What a proxy before it may
// have said is a *Problem, since it may be over soon.
func foreign(server string, resp *http.Response, body []byte) error {
	address, plain := strings.CutPrefix(server, "http://")
	p := &Problem{Title: http.StatusText(resp.StatusCode), Status: resp.StatusCode, Server: server}
	switch {
	case plain && strings.TrimSpace(string(body)) == wantsTLS:
		p.Detail = fmt.Sprintf("%s speaks TLS, give its URL as https://%s", server, address)
		return p
	case resp.StatusCode/100 == 5, resp.StatusCode == http.StatusTooManyRequests:
		p.Detail = Printable(fmt.Sprintf("%s answered %s and did not say why: %s", server, resp.Status, notTheAPI))
		return p
	case strings.HasPrefix(resp.Header.Get("Content-Type"), "application/grpc"):
		return fmt.Errorf("%s answers as a gRPC server: %w", server, ErrNotTheAPI)
	default:
		return fmt.Errorf("%s answered %s: %w", server, Printable(resp.Status), ErrNotTheAPI)
	}
}

// ended says of a stream that had worked how it ended.
func ended(server string, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w any more: the EDS server at %s has ended the stream", ErrUnreachable, server)
	}
	return unreachable(server, err)
}
