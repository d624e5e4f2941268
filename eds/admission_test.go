package eds

import (
	"crypto/ed25519"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip"
	"github.com/rollcall-fleet/rollcall/internal/keyfile"
)

// claims joins as a member that gossips at bind and says that it serves service at endpoint.
func (w *world) claims(seed *gossip.Pool, service string, endpoint netip.Addr, opts gossip.Options) *gossip.Pool {
	opts.Bind = w.addr()
	opts.Seeds = []string{seed.Self().Gossip.String()}
	if !endpoint.IsValid() {
		endpoint = opts.Bind.Addr()
	}
	return w.join(fleet.Member{
		ID: uuid.New(), Role: fleet.RoleUpstream, Started: time.Now(), Version: fleet.FormatVersion, Service: service,
		Endpoint: fleet.Endpoint{Addr: netip.AddrPortFrom(endpoint, 5432), Weight: 1, Health: fleet.Healthy},
		Probe:    fleet.Probe{Kind: fleet.ProbeNone},
	}, opts)
}

func quarantine(s *node, id uuid.UUID) string {
	for _, m := range s.Snapshot().Members {
		if m.ID == id {
			return m.Quarantine
		}
	}
	return "not there"
}

func TestMemberCannotPointEnvoyAtADatabase(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		s := w.eds(gossip.Options{}, openTestDB(t))
		w.upstream(s.pool)
		database := netip.MustParseAddr("10.9.9.9")
		declared := w.claims(s.pool, service, database, gossip.Options{})
		advertised := w.claims(s.pool, service, database, gossip.Options{Advertise: netip.AddrPortFrom(database, gossip.DefaultPort)})
		w.within(5*time.Second, "the honest upstream is served", func() bool { return served(s.Snapshot()) == 1 })
		for _, p := range []*gossip.Pool{declared, advertised} {
			w.within(10*time.Second, "the claim is refused", func() bool { q := quarantine(s, p.Self().ID); return q != "" && q != "not there" })
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, snap := range s.snapshot {
			for _, svc := range snap.Services {
				for _, h := range svc.Hosts {
					if h.Addr.Addr() == database {
						t.Fatalf("the database became a host: %+v", h)
					}
				}
			}
		}
	})
}

func TestAllowedAddressIsServedForAnother(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		w.trust.AllowAddresses = []netip.Prefix{netip.MustParsePrefix("10.9.0.0/16")}
		s := w.eds(gossip.Options{}, openTestDB(t))
		w.claims(s.pool, service, netip.MustParseAddr("10.9.9.9"), gossip.Options{})
		w.within(5*time.Second, "the legacy host is served", func() bool { return served(s.Snapshot()) == 1 })
	})
}

func TestProofDelaysAnUpstreamOnlyBriefly(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		s := w.eds(gossip.Options{}, openTestDB(t))
		time.Sleep(time.Second)
		w.upstream(s.pool)
		w.within(100*time.Millisecond, "a new upstream is served", func() bool { return served(s.Snapshot()) == 1 })
	})
}

func TestOwnedServiceIsServedFromItsHoldersAndKeysAreReplaced(t *testing.T) {
	play(t, func(t *testing.T, w *world) {
		path := filepath.Join(t.TempDir(), "service.keys")
		pair := func() (ed25519.PrivateKey, string) {
			private, public, err := keyfile.NewService("payments")
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "key")
			write(t, file, private)
			_, key, err := keyfile.ReadService(file)
			if err != nil {
				t.Fatal(err)
			}
			return key, public
		}
		key, public := pair()
		next, nextPublic := pair()
		write(t, path, public)
		w.trust.ServiceKeys = path
		s := w.eds(gossip.Options{}, openTestDB(t))
		holder := w.claims(s.pool, "payments", netip.Addr{}, gossip.Options{SigningKey: key})
		thief := w.claims(s.pool, "payments", netip.Addr{}, gossip.Options{})
		w.claims(s.pool, "users", netip.Addr{}, gossip.Options{})
		later := w.claims(s.pool, "payments", netip.Addr{}, gossip.Options{SigningKey: next})
		w.within(5*time.Second, "holder and free service are served", func() bool { return servedOfAll(s.Snapshot()) == 2 })
		w.within(time.Second, "the thief is refused", func() bool { return quarantine(s, thief.Self().ID) != "" })
		changed := holder.Self()
		changed.Endpoint.Weight = 7
		if _, err := holder.Announce(changed); err != nil {
			t.Fatal(err)
		}
		w.within(2*time.Second, "what the holder says later is signed too", func() bool {
			h := hostOf(s.Snapshot(), "payments", holder.Self().ID)
			return h.Served && h.Weight == 7
		})
		write(t, path, public+"\n"+nextPublic)
		w.within(5*time.Second, "both keys count", func() bool { return servedOfAll(s.Snapshot()) == 3 })
		write(t, path, nextPublic)
		w.within(5*time.Second, "the old key counts no more", func() bool {
			return quarantine(s, holder.Self().ID) != "" && hostOf(s.Snapshot(), "payments", later.Self().ID).Served
		})
		write(t, path, "nonsense")
		time.Sleep(5 * time.Second)
		if n := servedOfAll(s.Snapshot()); n != 2 {
			t.Errorf("with a file that cannot be read %d are served", n)
		}
	})
}

func servedOfAll(snap *registry.Snapshot) int {
	n := 0
	for _, s := range snap.Services {
		n += len(s.Served())
	}
	return n
}

func hostOf(snap *registry.Snapshot, service string, id uuid.UUID) *registry.Host {
	s, _ := snap.Find(service)
	for _, h := range s.Hosts {
		if h.ID == id.String() {
			return h
		}
	}
	return &registry.Host{}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}
