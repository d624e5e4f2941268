package operator

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/rollcall-fleet/rollcall/client"
)

// hinted adds to an error which flag is about it. shown says that a certificate was
// shown to the server.
func hinted(err error, shown bool) error {
	if hint := hintOf(err, shown); hint != "" {
		return fmt.Errorf("%w (%s)", err, hint)
	}
	return err
}

func hintOf(err error, shown bool) string {
	if p, ok := errors.AsType[*client.Problem](err); ok {
		if p.Status == http.StatusUnauthorized {
			return "--token-file, or --cert and --key, say who asks"
		}
		return ""
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "--ca says whose signature on the server's certificate is trusted"
	}
	if _, ok := errors.AsType[x509.HostnameError](err); ok {
		return "--server wants a name that is in the certificate"
	}
	const server = "--server or ROLLCALL_SERVER says where it is"
	switch {
	case errors.Is(err, client.ErrNotTheAPI):
		return server
	case !errors.Is(err, client.ErrUnreachable):
		return ""
	}
	// Who refuses a certificate hangs up, and that may be noticed before the reason is.
	if op, ok := errors.AsType[*net.OpError](err); shown && !(ok && op.Op == "dial") && !errors.Is(err, context.DeadlineExceeded) {
		return "--cert and --key are what the server was shown, perhaps it does not trust who signed them"
	}
	return server
}
