package fleet

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
)

// signatureRoom is the size of a signature in the metadata, in bytes: the name of the JSON
// field and 86 characters of base64.
const signatureRoom = len(`,"x":""`) + 86

var signatureCoding = base64.RawStdEncoding.Strict()

// Sign returns m with an Ed25519 signature over the fleet's name, m's id and all fields that
// m announces, so each announcement needs its own. It returns an error when m is not valid,
// or does not fit into MaxMeta bytes with the signature.
func Sign(fleetName string, m Member, key ed25519.PrivateKey) (Member, error) {
	b, err := m.signed(fleetName)
	if err != nil {
		return m, err
	}
	m.Signature = signatureCoding.EncodeToString(ed25519.Sign(key, b))
	_, err = Encode(m)
	return m, err
}

// Verify reports whether m has a valid signature by one of keys.
func Verify(fleetName string, m Member, keys []ed25519.PublicKey) bool {
	signature, err := signatureCoding.DecodeString(m.Signature)
	if err != nil || len(signature) != ed25519.SignatureSize || len(keys) == 0 {
		return false
	}
	b, err := m.signed(fleetName)
	return err == nil && slices.ContainsFunc(keys, func(k ed25519.PublicKey) bool { return ed25519.Verify(k, b, signature) })
}

// signed returns the bytes that m's signature covers. They include the id, so that another
// member cannot reuse the metadata.
func (m Member) signed(fleetName string) ([]byte, error) {
	m.Signature = ""
	meta, err := Encode(m)
	if err != nil {
		return nil, err
	}
	b := fmt.Appendf(nil, "rollcall member 1\x00%d\x00%s", len(fleetName), fleetName)
	return append(append(b, m.ID[:]...), meta...), nil
}

// checkSignature checks the form of s. "" is allowed: the metadata is unsigned.
func checkSignature(s string) error {
	if s == "" {
		return nil
	}
	if b, err := signatureCoding.DecodeString(s); err != nil || len(b) != ed25519.SignatureSize {
		return errors.New("signature is not base64 of 64 bytes")
	}
	return nil
}
