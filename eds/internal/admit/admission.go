package admit

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollcall-fleet/rollcall/eds/internal/vouch"
	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/internal/keyfile"
	"github.com/rollcall-fleet/rollcall/internal/latest"
	"github.com/rollcall-fleet/rollcall/internal/reload"
)

const (
	refusalsLogged = 20              // as warnings in a minute: a stranger may send thousands
	keysEvery      = 2 * time.Second // how often --service-keys is looked at
)

// AdmissionOptions configure an Admission.
type AdmissionOptions struct {
	Options                                               // Owners and Proofs are the Admission's own
	ServiceKeys string                                    // file of the keys of services; "": none has one
	Known       []*fleet.Member                           // proven before a restart
	Ask         func(context.Context, *fleet.Member) bool // challenges a member
	KeyRemoved  <-chan struct{}                           // receives after a gossip key was removed
	Logger      *slog.Logger
}

// Admission brings together who may have an endpoint: the Gate, what is known of the
// members' addresses, and the keys of services.
type Admission struct {
	voucher *vouch.Voucher
	removed <-chan struct{}
	owners  *owners
	logger  *slog.Logger
	total   *prometheus.CounterVec // by cause

	// Owned by the caller of Admit.
	gate   *Gate
	minute time.Time // of the warnings counted in logged
	logged int

	refused atomic.Pointer[map[Cause]int] // how many are now
}

// NewAdmission reads the keys of services. The error is that of their file.
func NewAdmission(o AdmissionOptions) (*Admission, error) {
	owners, err := newOwners(o.ServiceKeys, o.Logger)
	if err != nil {
		return nil, err
	}
	a := &Admission{voucher: vouch.New(o.Ask, o.Known), removed: o.KeyRemoved, owners: owners, logger: o.Logger, total: newTotal()}
	o.Owners, o.Proofs = owners.current, a.voucher
	a.gate = New(o.Options)
	a.refused.Store(&map[Cause]int{})
	return a, nil
}

// newTotal counts members as they are refused.
func newTotal() *prometheus.CounterVec {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "rollcall_members_refused_total", Help: "Members that were refused an endpoint, by cause.",
	}, []string{"cause"})
	for _, c := range Causes {
		v.WithLabelValues(string(c))
	}
	return v
}

// Run challenges members and follows the file of keys until ctx ends.
func (a *Admission) Run(ctx context.Context) {
	var wg sync.WaitGroup
	wg.Go(func() { a.voucher.Run(ctx) })
	wg.Go(func() { a.owners.run(ctx) })
	wg.Go(func() { a.renew(ctx) })
	wg.Wait()
}

// renew has proofs renewed after a gossip key was removed: whoever is locked out so must
// not stay in service, however well its endpoint answers.
func (a *Admission) renew(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.removed:
			a.voucher.Renew()
		}
	}
}

// Admit quarantines those of members that may have no endpoint. inService returns those
// that have one in service, which are challenged first; any goroutine may call it later.
// One goroutine calls Admit.
func (a *Admission) Admit(now time.Time, members []*fleet.Member, inService func() map[uuid.UUID]bool) Result {
	r := a.gate.Admit(members)
	if r.Moved {
		a.voucher.Watch(r.Prove, inService)
	}
	a.refused.Store(&r.Refused)
	for _, n := range r.News {
		a.total.WithLabelValues(string(n.Cause)).Inc()
		a.logger.Log(context.Background(), a.level(now), "member refused", "id", n.Member.ID, "service", n.Member.Service,
			"gossip", n.Member.Gossip, "address", n.Member.Endpoint.Addr, "cause", n.Cause, "reason", n.Member.Quarantine)
	}
	return r
}

// Proven receives after challenges had another outcome than before.
func (a *Admission) Proven() <-chan struct{} { return a.voucher.Changed() }

// KeysChanged receives after the keys of services changed.
func (a *Admission) KeysChanged() <-chan struct{} { return a.owners.changed }

// Refused returns how many members are refused now, by cause. Any goroutine may call it;
// none may write to the map.
func (a *Admission) Refused() map[Cause]int { return *a.refused.Load() }

// Total returns the counter of members as they are refused, by cause.
func (a *Admission) Total() prometheus.Collector { return a.total }

func (a *Admission) level(now time.Time) slog.Level {
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

func (o *owners) current() Owners { return o.latest.Load() }

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
