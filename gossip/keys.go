package gossip

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/hashicorp/memberlist"
)

const (
	newKeySize  = 32       // AES-256
	maxKeyFile  = 64 << 10 // bytes
	commentMark = "#"
)

// NewKey returns a fresh random key as base64, the form that a key file holds.
func NewKey() (string, error) {
	key := make([]byte, newKeySize)
	if _, err := rand.Read(key); err != nil {
		return "", fmt.Errorf("make a gossip key: %w", err)
	}
	return base64.StdEncoding.EncodeToString(key), nil
}

// ReadKeyFile reads one base64 key of 16, 24 or 32 bytes from each line, the
// first of them the one to send with. Empty lines, and what follows a #, are
// skipped. No key at all is an error. Errors never hold a key.
func ReadKeyFile(path string) ([][]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("gossip key file: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	text, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, fmt.Errorf("gossip key file: %w", err)
	}
	if len(text) > maxKeyFile {
		return nil, fmt.Errorf("gossip key file %s: longer than %d bytes, this is no key file", path, maxKeyFile)
	}
	keys, err := parseKeys(string(text))
	if err != nil {
		return nil, fmt.Errorf("gossip key file %s: %w", path, err)
	}
	return keys, nil
}

func parseKeys(text string) ([][]byte, error) {
	var keys [][]byte
	n := 0
	for line := range strings.Lines(text) {
		n++
		line, _, _ = strings.Cut(line, commentMark)
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		key, err := base64.StdEncoding.DecodeString(line)
		if err != nil {
			return nil, fmt.Errorf("line %d is not base64", n)
		}
		if err := memberlist.ValidateKey(key); err != nil {
			return nil, fmt.Errorf("line %d: the key is %d bytes long, give 16, 24 or 32", n, len(key))
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("it holds no key: `rollcall keygen gossip` makes one")
	}
	return keys, nil
}
