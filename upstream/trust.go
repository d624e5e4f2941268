package upstream

import (
	"crypto/ed25519"
	"slices"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip"
)

// trust is how an upstream proves what it says, and whom it believes.
type trust struct {
	keyFile    string
	serviceKey ed25519.PrivateKey
	edsKeys    []ed25519.PublicKey
	bounds     gossip.Bounds
}

// WithServiceKey signs what is announced with the key of the service, for EDS servers
// that serve it from the holders of that key only. The signature takes 93 of the
// [fleet.MaxMeta] bytes.
func WithServiceKey(key ed25519.PrivateKey) Option {
	return func(o *options) { o.trust.serviceKey = key }
}

// WithEDSKeys names the EDS servers' public keys. Without a signature by one of them
// nobody is taken for an EDS server: not in a drain, and not when it asks for keys.
func WithEDSKeys(keys ...ed25519.PublicKey) Option {
	return func(o *options) { o.trust.edsKeys = slices.Clone(keys) }
}

// WithKeyFile names the file that the keys of [WithKeys] came from, to be replaced
// when the pool's keys are rotated. Without it a restart brings the old keys back.
func WithKeyFile(path string) Option {
	return func(o *options) { o.trust.keyFile = path }
}

// WithBounds says which members are let in, and how many.
func WithBounds(b gossip.Bounds) Option {
	return func(o *options) { o.trust.bounds = b }
}

// check reports why m cannot be announced, now or in a later state.
func (o *options) check(m fleet.Member) error {
	return fleet.CheckRoom(m, o.trust.serviceKey != nil)
}
