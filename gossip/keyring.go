package gossip

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/memberlist"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip/internal/message"
	"github.com/rollcall-fleet/rollcall/internal/reload"
)

const (
	maxKeysHeld = 16 // in a keyring
	keyQueries  = 16 // that wait for their turn; later ones are dropped
)

// Fingerprint names a gossip key without telling it.
type Fingerprint [8]byte

// FingerprintOf names a key.
func FingerprintOf(key []byte) Fingerprint {
	sum := sha256.Sum256(append([]byte("rollcall gossip key\x00"), key...))
	return Fingerprint(sum[:8])
}

// ParseFingerprint reads what String writes.
func ParseFingerprint(s string) (Fingerprint, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(Fingerprint{}) {
		return Fingerprint{}, fmt.Errorf("fingerprint %.32q is not 16 hexadecimal digits", s)
	}
	return Fingerprint(b), nil
}

// String is in hexadecimal.
func (f Fingerprint) String() string { return hex.EncodeToString(f[:]) }

// keyring is this member's keys, and the file that they come from, which it follows. Its
// methods but fingerprints are called with Pool.keying held.
type keyring struct {
	ring *memberlist.Keyring // nil: gossip is not encrypted
	file string              // "": there is none to follow or write to

	keys     *reload.Value[[][]byte] // of the file; nil: there is none
	followed [][]byte                // what the file had when it was followed last
}

// newKeyring has ring follow a file. One that cannot be read yet is followed once it can.
func newKeyring(ring *memberlist.Keyring, file string, logger *slog.Logger) keyring {
	k := keyring{ring: ring, file: file}
	if ring == nil || file == "" {
		return k
	}
	var err error
	if k.keys, err = reload.New(logger, func() ([][]byte, error) { return ReadKeyFile(file) }, file); err != nil {
		logger.Warn("gossip key file cannot be read; keeping the present keys", "err", err)
	}
	return k
}

// followEvery is how often the key file is looked at.
const followEvery = time.Second

var errTravels = errors.New("keys do not travel over the network any more: add the key to its --gossip-key-file, which it follows")

var errNotEncrypted = errors.New("its gossip is not encrypted: start it with --gossip-key-file")

// do carries out what q asks for and reports what became of the file.
func (k *keyring) do(q KeyQuery) (Saved, error) {
	if k.ring == nil {
		return NoFile, errNotEncrypted
	}
	var err error
	switch q.Op {
	case ListKeys:
		return NoFile, nil
	case AddKey:
		err = errTravels // an EDS server of an older version asks
	case UseKey, RemoveKey:
		var key []byte
		if key, err = k.find(q.Fingerprint); err != nil {
			break
		}
		if q.Op == UseKey {
			err = k.ring.UseKey(key)
		} else if err = k.ring.RemoveKey(key); err != nil {
			err = errors.New("it encrypts with this key, let it use another one first")
		}
	default:
		err = fmt.Errorf("query of unknown kind %d", q.Op)
	}
	if err != nil || k.file == "" {
		return NoFile, err
	}
	if err := k.save(); err != nil {
		return NotSaved, fmt.Errorf("it is done and will be undone by a restart, since the key file cannot be written: %w", err)
	}
	return SavedToFile, nil
}

func (k *keyring) add(key []byte) error {
	keys := k.ring.GetKeys()
	if holdsKey(keys, key) {
		return nil
	}
	if len(keys) >= maxKeysHeld {
		return fmt.Errorf("it has %d keys already, remove one first", len(keys))
	}
	return k.ring.AddKey(key)
}

func (k *keyring) find(f Fingerprint) ([]byte, error) {
	for _, key := range k.ring.GetKeys() {
		if FingerprintOf(key) == f {
			return key, nil
		}
	}
	return nil, fmt.Errorf("it does not have key %s", f)
}

// fingerprints are those of the keys, the one that encrypts first.
func (k *keyring) fingerprints() []Fingerprint {
	if k.ring == nil {
		return nil
	}
	var all []Fingerprint
	for _, key := range k.ring.GetKeys() {
		all = append(all, FingerprintOf(key))
	}
	return all
}

// follow brings the keys in line with the file if that has changed, and reports whether it
// has. A key that the file has no more is not accepted any more; the one to encrypt with
// stays the same as long as it is there.
func (k *keyring) follow() (changed bool, err error) {
	if k.keys == nil {
		return false, nil
	}
	keys := k.keys.Get()
	if len(keys) == 0 || slices.EqualFunc(keys, k.followed, bytes.Equal) {
		return false, nil
	}
	k.followed = keys
	before := k.fingerprints()
	for _, key := range keys {
		if err := k.add(key); err != nil {
			return true, err
		}
	}
	if !holdsKey(keys, k.ring.GetPrimaryKey()) {
		if err := k.ring.UseKey(keys[0]); err != nil {
			return true, err
		}
	}
	for _, key := range k.ring.GetKeys() {
		if !holdsKey(keys, key) {
			err = errors.Join(err, k.ring.RemoveKey(key))
		}
	}
	return !slices.Equal(before, k.fingerprints()), err
}

func holdsKey(keys [][]byte, key []byte) bool {
	return slices.ContainsFunc(keys, func(have []byte) bool { return bytes.Equal(have, key) })
}

// save replaces the file at once or not at all.
func (k *keyring) save() error {
	text := bytes.NewBufferString("# The pool's keys, the one to encrypt with first. Written by rollcall keys.\n")
	for _, key := range k.ring.GetKeys() {
		text.WriteString(base64.StdEncoding.EncodeToString(key) + "\n")
	}
	f, err := os.CreateTemp(filepath.Dir(k.file), ".gossip-key-*") // for this user alone
	if err != nil {
		return err
	}
	_, err = f.Write(text.Bytes())
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), k.file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// keyKeeper follows the key file, and answers queries one after the other, until the pool
// is shut down.
func (p *Pool) keyKeeper() {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		select {
		case <-p.ctx.Done():
			return
		case m := <-p.queries:
			p.answerKeys(m)
		case <-tick.C:
			p.followKeys()
		}
	}
}

// followKeys reads the key file again if it has changed.
func (p *Pool) followKeys() {
	p.keying.Lock()
	defer p.keying.Unlock()
	changed, err := p.keyring.follow()
	if err != nil {
		p.log.Warn("gossip key file cannot be applied in full", "err", err)
	}
	if changed {
		p.log.Info("gossip keys", "asked_to", "follow the file", "keys", p.keyring.fingerprints())
	}
}

func (p *Pool) answerKeys(m message.Message) {
	asker, ok := p.members.find(m.Sender)
	if !ok || asker.Role != fleet.RoleEDS || asker.Liveness != fleet.Alive {
		p.log.Log(noContext, p.quiet.level("keys", slog.LevelWarn), "ignored a query for keys of who is no EDS server of the pool", "member", m.Sender)
		return
	}
	q, err := decodeKeyQuery(m.Body)
	if err != nil {
		return
	}
	a := p.carryOut(q)
	if err := p.send(asker, message.Message{Kind: message.KeyAnswer, Member: m.Sender, Sender: p.id, Body: a.encode(q.nonce)}); err != nil && p.ctx.Err() == nil {
		p.log.Warn("could not send this member's keys to an EDS server", "server", m.Sender, "err", err)
	}
}

// KeyRemoved receives after an operator had a key removed from every member: whoever had
// no other one is locked out. A key that was taken out of this member's file alone does
// not count, the others may still use it. It holds one signal.
func (p *Pool) KeyRemoved() <-chan struct{} { return p.removed }

// carryOut does what q asks for here.
func (p *Pool) carryOut(q KeyQuery) KeyAnswer {
	p.keying.Lock()
	defer p.keying.Unlock()
	a := KeyAnswer{Member: p.id}
	before := p.keyring.fingerprints()
	saved, err := p.keyring.do(q)
	if a.Saved = saved; err != nil {
		a.Problem = err.Error()
	}
	if a.Keys = p.keyring.fingerprints(); len(a.Keys) < len(before) {
		p.removed.Set()
	}
	if q.Op != ListKeys {
		p.log.Info("gossip keys", "asked_to", q.Op, "key", q.Fingerprint, "keys", a.Keys, "problem", a.Problem)
	}
	return a
}

// AskKeys has every live member of the pool, this one too, do what q says with its
// keys, and returns what each answered before ctx ended. A member that is missing in the
// result did not answer.
func (p *Pool) AskKeys(ctx context.Context, q KeyQuery) []KeyAnswer {
	q.nonce = uuid.New()
	answers := make(chan KeyAnswer, p.members.MaxMembers)
	p.asking.Lock()
	if p.asked == nil {
		p.asked = make(map[uuid.UUID]chan KeyAnswer)
	}
	p.asked[q.nonce] = answers
	p.asking.Unlock()
	defer func() {
		p.asking.Lock()
		delete(p.asked, q.nonce)
		p.asking.Unlock()
	}()
	got := map[uuid.UUID]KeyAnswer{p.id: p.carryOut(q)}
	waiting := p.sendQueries(ctx, q)
	for len(waiting) > 0 {
		select {
		case a := <-answers:
			if waiting[a.Member] {
				delete(waiting, a.Member)
				got[a.Member] = a
			}
			continue
		case <-ctx.Done():
		case <-p.ctx.Done():
		}
		break
	}
	var all []KeyAnswer
	for _, a := range got {
		all = append(all, a)
	}
	slices.SortFunc(all, func(a, b KeyAnswer) int { return slices.Compare(a.Member[:], b.Member[:]) })
	return all
}

// sendQueries asks the other live members, a bounded number at once, and returns
// whose answers are to come.
func (p *Pool) sendQueries(ctx context.Context, q KeyQuery) map[uuid.UUID]bool {
	waiting := make(map[uuid.UUID]bool)
	turns := make(chan struct{}, 64)
	p.announcing.Lock() // shutdown waits for it before it waits for the group
	defer p.announcing.Unlock()
	if p.usable() != nil {
		return waiting
	}
	for _, m := range p.members.list() {
		if m.Liveness != fleet.Alive || m.ID == p.id {
			continue
		}
		waiting[m.ID] = true
		p.wg.Go(func() {
			select {
			case turns <- struct{}{}:
				defer func() { <-turns }()
			case <-ctx.Done():
				return
			}
			if err := p.send(m, message.Message{Kind: message.KeyQuery, Member: m.ID, Sender: p.id, Body: q.encode()}); err != nil && p.ctx.Err() == nil {
				p.log.Debug("could not send a key query to a member", "id", m.ID, "err", err)
			}
		})
	}
	return waiting
}

// keysAnswered takes a member's answer. It never blocks.
func (p *Pool) keysAnswered(m message.Message) error {
	a, nonce, err := decodeKeyAnswer(m.Body)
	if err != nil {
		return err
	}
	a.Member = m.Sender
	p.asking.Lock()
	defer p.asking.Unlock()
	if answers := p.asked[nonce]; answers != nil {
		select {
		case answers <- a:
		default:
		}
	}
	return nil
}
