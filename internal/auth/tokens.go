// Package auth says who a request to an EDS server comes from and what that one
// may do: by bearer token, by client certificate, and, for Envoys, by a list of
// the services that each may read.
package auth

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Role is what a client of the API may do.
type Role string

// The roles.
const (
	Viewer   Role = "viewer"   // reads
	Operator Role = "operator" // reads and decides
)

// ParseRole returns the role called s.
func ParseRole(s string) (Role, error) {
	switch r := Role(s); r {
	case Viewer, Operator:
		return r, nil
	default:
		return "", fmt.Errorf("role %q is neither viewer nor operator", s)
	}
}

// May reports whether r may do what want is needed for.
func (r Role) May(want Role) bool { return r == Operator || r == want && want != "" }

// Identity is a client of the API with its name.
type Identity struct {
	Name string
	Role Role // "" for one who may do nothing at the API
}

// The bounds of a token file.
const (
	maxTokens = 10_000
	maxName   = 200 // bytes
)

// tokenPrefix lets those who search for leaked secrets find ours.
const tokenPrefix = "rollcall_"

// NewToken returns a new token of 256 random bits for an identity, and the line of the
// token file that lets it in.
func NewToken(id Identity) (token, line string, err error) {
	if err := checkName(id.Name); err != nil {
		return "", "", err
	}
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		return "", "", fmt.Errorf("make a token: %w", err)
	}
	token = tokenPrefix + base64.RawURLEncoding.EncodeToString(secret)
	hash := sha256.Sum256([]byte(token))
	return token, fmt.Sprintf("%s %s %s", id.Role, id.Name, hex.EncodeToString(hash[:])), nil
}

// Tokens are the ones that are let in. They never change.
type Tokens struct{ entries []entry }

type entry struct {
	hash [sha256.Size]byte
	id   Identity
}

// ParseTokens reads a token file: lines of role, name and the SHA-256 of the token
// in hex. Empty lines and those that begin with # mean nothing. A name may have
// several tokens, of one role, so that one can be replaced with an overlap.
func ParseTokens(file []byte) (Tokens, error) {
	var t Tokens
	roles, hashes := make(map[string]Role), make(map[[sha256.Size]byte]bool)
	scanner := bufio.NewScanner(bytes.NewReader(file))
	for n := 1; scanner.Scan(); n++ {
		line := strings.TrimSpace(scanner.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		e, err := parseEntry(line)
		if err != nil {
			return Tokens{}, fmt.Errorf("line %d: %w", n, err)
		}
		switch role, known := roles[e.id.Name]; {
		case hashes[e.hash]:
			return Tokens{}, fmt.Errorf("line %d: the same token is there twice", n)
		case known && role != e.id.Role:
			return Tokens{}, fmt.Errorf("line %d: %s is there as %s already", n, e.id.Name, role)
		case len(t.entries) == maxTokens:
			return Tokens{}, fmt.Errorf("line %d: more than %d tokens", n, maxTokens)
		}
		roles[e.id.Name], hashes[e.hash] = e.id.Role, true
		t.entries = append(t.entries, e)
	}
	if err := scanner.Err(); err != nil {
		return Tokens{}, fmt.Errorf("read tokens: %w", err)
	}
	return t, nil
}

// parseEntry repeats nothing of a line in its errors but the role and the name: a
// token put there by mistake must not get into a log.
func parseEntry(line string) (e entry, err error) {
	fields := strings.Fields(line)
	if len(fields) != 3 {
		return e, fmt.Errorf("%d words, want role, name and the token's SHA-256", len(fields))
	}
	if e.id.Role, err = ParseRole(fields[0]); err != nil {
		return e, err
	}
	if e.id.Name = fields[1]; checkName(e.id.Name) != nil {
		return e, checkName(e.id.Name)
	}
	hash, err := hex.DecodeString(fields[2])
	if err != nil || copy(e.hash[:], hash) != sha256.Size || len(hash) != sha256.Size {
		return e, fmt.Errorf("what follows %s is not a SHA-256 in hex (rollcall keygen token makes such lines)", e.id.Name)
	}
	return e, nil
}

func checkName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("the name is empty")
	case len(name) > maxName:
		return fmt.Errorf("the name is %d bytes long, at most %d are allowed", len(name), maxName)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) }):
		return fmt.Errorf("name %q has spaces or unprintable characters", name)
	}
	return nil
}

// Find returns whose token it is. Its time does not depend on which one, nor on
// how much of a guess is right.
func (t Tokens) Find(token string) (id Identity, ok bool) {
	hash := sha256.Sum256([]byte(token))
	for i := range t.entries {
		if subtle.ConstantTimeCompare(hash[:], t.entries[i].hash[:]) == 1 {
			id, ok = t.entries[i].id, true
		}
	}
	return id, ok
}
