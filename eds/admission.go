package eds

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollcall-fleet/rollcall/eds/internal/admit"
	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
	"github.com/rollcall-fleet/rollcall/eds/internal/vouch"
	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip"
	"github.com/rollcall-fleet/rollcall/internal/keyfile"
	"github.com/rollcall-fleet/rollcall/internal/latest"
	"github.com/rollcall-fleet/rollcall/internal/reload"
)

const (
	refusalsLogged = 20              // as warnings in a minute: a stranger may send thousands
	keysEvery      = 2 * time.Second // how often --service-keys is looked at
)

// Trust says whom an EDS server believes, and how much of it.
type Trust struct {
	AllowAddresses []netip.Prefix      // endpoints may be there although their member gossips elsewhere
	ServiceKeys    string              // file of the keys of services; "": services are everybody's
	EDSKey         ed25519.PrivateKey  // nil: nobody has to prove that it is an EDS server
	EDSPublic      []ed25519.PublicKey // further keys of EDS servers, while one replaces another
	Bounds         gossip.Bounds       // of the pool
	MaxServices    int                 // 0 stands for admit.DefaultMaxServices
	MaxEndpoints   int                 // of one service; 0 stands for admit.DefaultMaxEndpoints
}

// edsKeys are all keys by which an EDS server may prove that it is one.
func (t Trust) edsKeys() []ed25519.PublicKey {
	if t.EDSKey == nil {
		return t.EDSPublic
	}
	return append([]ed25519.PublicKey{t.EDSKey.Public().(ed25519.PublicKey)}, t.EDSPublic...)
}

// admission brings together who may have an endpoint: the gate, what is known of
// members' addresses, and whose services are.
type admission struct {
	voucher *vouch.Voucher
	owners  *owners
	logger  *slog.Logger
	total   *prometheus.CounterVec // by cause

	// Owned by the loop.
	gate   *admit.Gate
	minute time.Time // of the warnings counted in logged
	logged int

	refused atomic.Pointer[map[admit.Cause]int] // how many are now
}

// newAdmission reads the keys of services. ask challenges a member; known ones were
// proven before a restart.
func newAdmission(t Trust, fleetName string, local bool, ask func(context.Context, *fleet.Member) bool, known []*fleet.Member, logger *slog.Logger) (*admission, error) {
	owners, err := newOwners(t.ServiceKeys, logger)
	if err != nil {
		return nil, Mistake{err}
	}
	a := &admission{voucher: vouch.New(ask, known), owners: owners, logger: logger, total: newRefusals()}
	a.gate = admit.New(admit.Options{
		Fleet: cmp.Or(fleetName, gossip.DefaultFleet), Allow: t.AllowAddresses, Local: local, Owners: owners.current, Proofs: a.voucher,
		MaxServices: t.MaxServices, MaxEndpoints: t.MaxEndpoints,
	})
	a.refused.Store(&map[admit.Cause]int{})
	return a, nil
}

// run challenges members and looks at the file of keys until ctx ends.
func (a *admission) run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { a.voucher.Run(ctx) })
	wg.Go(func() { a.owners.run(ctx) })
	wg.Wait()
}

// admit quarantines those of members that may have no endpoint; before is the last
// Snapshot. Only the loop may call it.
func (a *admission) admit(now time.Time, members []*fleet.Member, before *registry.Snapshot) admit.Result {
	r := a.gate.Admit(members)
	if r.Moved {
		a.voucher.Watch(r.Prove, func() map[uuid.UUID]bool { return before.InService(false) })
	}
	a.refused.Store(&r.Refused)
	for _, n := range r.News {
		a.total.WithLabelValues(string(n.Cause)).Inc()
		a.logger.Log(context.Background(), a.level(now), "member is refused", "id", n.Member.ID, "service", n.Member.Service,
			"gossip", n.Member.Gossip, "address", n.Member.Endpoint.Addr, "cause", n.Cause, "reason", n.Member.Quarantine)
	}
	return r
}

func (a *admission) level(now time.Time) slog.Level {
	if now.Sub(a.minute) >= time.Minute {
		a.minute, a.logged = now, 0
	}
	if a.logged++; a.logged > refusalsLogged {
		return slog.LevelDebug
	}
	return slog.LevelWarn
}

// owners is whose services are, from a file that is followed.
type owners struct {
	file    *reload.Value[*keyfile.Services] // nil: there is none
	latest  atomic.Pointer[keyfile.Services]
	changed latest.Signal
}

func newOwners(path string, logger *slog.Logger) (*owners, error) {
	o := &owners{changed: latest.NewSignal()}
	if path == "" {
		return o, nil
	}
	var err error
	o.file, err = reload.New(logger, func() (*keyfile.Services, error) { return keyfile.ReadServices(path) }, path)
	if err != nil {
		return nil, err
	}
	o.latest.Store(o.file.Get())
	return o, nil
}

func (o *owners) current() admit.Owners { return o.latest.Load() }

// run looks at the file until ctx ends, so that the loop never does.
func (o *owners) run(ctx context.Context) {
	if o.file == nil {
		return
	}
	tick := time.NewTicker(keysEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if now := o.file.Get(); o.latest.Swap(now) != now {
			o.changed.Set()
		}
	}
}
