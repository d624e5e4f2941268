package upstream

import (
	"crypto/ed25519"
	"slices"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip"
)

// trust is how an upstream signs its announcements, and which members it trusts.
type trust struct {
	keyFile    string
	serviceKey ed25519.PrivateKey
	edsKeys    []ed25519.PublicKey
	bounds     gossip.Bounds
}

// WithServiceKey signs announcements with the key of the service, for EDS servers that accept
// its endpoints only from holders of that key. The signature takes 93 of the
// [fleet.MaxMeta] bytes.
func WithServiceKey(key ed25519.PrivateKey) Option {
	return func(o *options) { o.trust.serviceKey = key }
}

// WithEDSKeys names the EDS servers' public keys. A member without a
// signature by one of them is not treated as an EDS server: a drain does not wait for it, and
// it cannot rotate keys.
func WithEDSKeys(keys ...ed25519.PublicKey) Option {
	return func(o *options) { o.trust.edsKeys = slices.Clone(keys) }
}

// WithKeyFile names the file of the keys of [WithKeys]. It is updated when the pool's keys are
// rotated; without it a restart would use the old keys.
func WithKeyFile(path string) Option {
	return func(o *options) { o.trust.keyFile = path }
}

// WithBounds limits which members the pool accepts, and how many.
func WithBounds(b gossip.Bounds) Option {
	return func(o *options) { o.trust.bounds = b }
}

// check returns an error when m cannot be announced now or in a later state.
func (o *options) check(m fleet.Member) error {
	return fleet.CheckRoom(m, o.trust.serviceKey != nil)
}
