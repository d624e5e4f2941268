package cli

import (
	"errors"
	"fmt"
	"net/http"

	"github.com/rollcall-fleet/rollcall/client"
)

// The exit codes. Scripts depend on them.
const (
	ExitFailed   = 1
	ExitUsage    = 2
	ExitNotFound = 3 // of the commands that ask an EDS server
	ExitConflict = 4 // likewise
)

// UsageError is a mistake on the command line or in the environment.
type UsageError struct{ err error }

// Usage makes err a UsageError.
func Usage(err error) error { return UsageError{err} }

func (e UsageError) Error() string { return e.err.Error() }

// Unwrap returns what is wrong.
func (e UsageError) Unwrap() error { return e.err }

// NotFoundError is about a service or endpoint that no server knows.
type NotFoundError struct{ err error }

// NotFound makes err a NotFoundError.
func NotFound(err error) error { return NotFoundError{err} }

func (e NotFoundError) Error() string { return e.err.Error() }

// Unwrap returns what was not found.
func (e NotFoundError) Unwrap() error { return e.err }

// ExitError passes on the exit code of a program that was run.
type ExitError struct {
	Code int
	Why  error // nil: the log has it
}

func (e ExitError) Error() string {
	if e.Why != nil {
		return e.Why.Error()
	}
	return fmt.Sprintf("the program ended with code %d", e.Code)
}

// Unwrap returns why the program could not be run.
func (e ExitError) Unwrap() error { return e.Why }

// ExitCode returns the exit code for err, which is not nil.
func ExitCode(err error) int {
	if exit, ok := errors.AsType[ExitError](err); ok {
		return exit.Code
	}
	if _, ok := errors.AsType[UsageError](err); ok {
		return ExitUsage
	}
	if _, ok := errors.AsType[NotFoundError](err); ok {
		return ExitNotFound
	}
	if p, ok := errors.AsType[*client.Problem](err); ok {
		switch p.Status {
		case http.StatusBadRequest:
			return ExitUsage
		case http.StatusNotFound:
			return ExitNotFound
		case http.StatusConflict, http.StatusPreconditionFailed:
			return ExitConflict
		}
	}
	return ExitFailed
}
