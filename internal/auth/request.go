package auth

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/rollcall-fleet/rollcall/internal/certs"
	"github.com/rollcall-fleet/rollcall/internal/reload"
)

// maxFile bounds a file of tokens or of a policy, in bytes.
const maxFile = 4 << 20

// Options say who is let in at the API.
type Options struct {
	TokenFile string // see ParseTokens; ""
	ClientCA  bool   // client certificates are verified

	// The roles of client certificates, by SPIFFE id or common name.
	Viewers, Operators []string

	Logger *slog.Logger
}

// Authenticator tells who requests come from. Its methods may be called from any
// goroutine.
type Authenticator struct {
	tokens *reload.Value[Tokens] // nil: none
	certs  map[string]Role
}

// New returns nil when o lets in everybody.
func New(o Options) (*Authenticator, error) {
	if o.TokenFile == "" && !o.ClientCA {
		return nil, nil
	}
	a := &Authenticator{certs: make(map[string]Role)}
	for _, id := range o.Viewers {
		a.certs[id] = Viewer
	}
	for _, id := range o.Operators {
		a.certs[id] = Operator
	}
	if o.TokenFile == "" {
		return a, nil
	}
	var err error
	a.tokens, err = reload.New(o.Logger, func() (Tokens, error) {
		file, err := reload.ReadFile(o.TokenFile, maxFile)
		if err != nil {
			return Tokens{}, fmt.Errorf("read tokens: %w", err)
		}
		t, err := ParseTokens(file)
		if err != nil {
			err = fmt.Errorf("%s: %w", o.TokenFile, err)
		}
		return t, err
	}, o.TokenFile)
	return a, err
}

var errToken = errors.New("the token is not known here")

// Identify returns who a request comes from, the zero Identity when it does not
// say, and an error when what it says is wrong. A token goes before a certificate.
func (a *Authenticator) Identify(r *http.Request) (Identity, error) {
	if header := r.Header.Get("Authorization"); header != "" {
		scheme, token, _ := strings.Cut(header, " ")
		if !strings.EqualFold(scheme, "Bearer") || a.tokens == nil {
			return Identity{}, errToken
		}
		id, ok := a.tokens.Get().Find(strings.TrimSpace(token))
		if !ok {
			return Identity{}, errToken
		}
		return id, nil
	}
	if err := certs.Expired(r.TLS, time.Now()); err != nil {
		return Identity{}, err
	}
	name, err := certs.ID(r.TLS)
	return Identity{Name: name, Role: a.certs[name]}, err
}
