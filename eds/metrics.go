package eds

import (
	"errors"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/rollcall-fleet/rollcall/eds/internal/follow"
	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
	"github.com/rollcall-fleet/rollcall/eds/internal/xds"
	"github.com/rollcall-fleet/rollcall/internal/panics"
)

// The metrics are read off the latest Snapshot when they are scraped, so they
// cannot drift from what is served.
var (
	descSettled   = prometheus.NewDesc("rollcall_settled", "1 once gossip has settled and endpoints are served.", nil, nil)
	descMembers   = prometheus.NewDesc("rollcall_members", "Members of the pool.", []string{"role", "liveness"}, nil)
	descBad       = prometheus.NewDesc("rollcall_members_quarantined", "Members whose metadata was refused.", nil, nil)
	descEndpoints = prometheus.NewDesc("rollcall_endpoints", "Endpoints known of a service.", []string{"service", "served"}, nil)
	descHeld      = prometheus.NewDesc("rollcall_guard_held", "Endpoints of a service that are held although they are silent or contradicted.", []string{"service"}, nil)
	descAlive     = prometheus.NewDesc("rollcall_guard_contradicted", "Endpoints of a service that are held since their processes answer although connections to them fail.", []string{"service"}, nil)
	descIsolated  = prometheus.NewDesc("rollcall_isolated", "1 while no endpoint is heard at all.", nil, nil)
	descOverrides = prometheus.NewDesc("rollcall_overrides", "Services with a manual list.", []string{"mode"}, nil)
	descClients   = prometheus.NewDesc("rollcall_xds_clients", "Connected xDS clients.", []string{"transport"}, nil)
	descExpired   = prometheus.NewDesc("rollcall_xds_clients_certificate_expired", "xDS clients whose certificate has ended since they connected.", nil, nil)
	descNACKs     = prometheus.NewDesc("rollcall_xds_clients_nacking", "xDS clients whose last answer was a NACK.", nil, nil)
)

// ackBuckets range from one Envoy on the same network to a wait that needs attention, in seconds.
var ackBuckets = []float64{.002, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// newAckTimes measures how long changes take until every client has acknowledged them.
func newAckTimes() *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "rollcall_change_acknowledged_seconds", Buckets: ackBuckets,
		Help: "From a change of a member until every xDS client of its service has acknowledged it, by kind: serve, change, drain, lose.",
	}, []string{"kind"})
}

type metrics struct {
	snapshot func() *registry.Snapshot
	clients  func() xds.Count
}

func newMetrics(snapshot func() *registry.Snapshot, clients func() xds.Count, more ...prometheus.Collector) (*prometheus.Registry, error) {
	r := prometheus.NewRegistry()
	var errs []error
	for _, c := range append(more,
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		metrics{snapshot: snapshot, clients: clients},
	) {
		errs = append(errs, r.Register(c))
	}
	return r, errors.Join(errs...)
}

// gaugeOf is a metric that is read when it is scraped.
func gaugeOf(name, help string, read func() int) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 { return float64(read()) })
}

// counterOf is gaugeOf for what only grows.
func counterOf(name, help string, read func() int) prometheus.Collector {
	return prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(read()) })
}

// Describe implements prometheus.Collector.
func (m metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descSettled, descMembers, descBad, descEndpoints, descHeld, descAlive, descIsolated, descOverrides, descClients, descNACKs, descExpired} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (m metrics) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		metric, err := prometheus.NewConstMetric(d, prometheus.GaugeValue, v, labels...)
		if err != nil {
			metric = prometheus.NewInvalidMetric(d, err)
		}
		ch <- metric
	}
	counts := func(d *prometheus.Desc, n map[[2]string]int, labels int) {
		for k, v := range n {
			gauge(d, float64(v), k[:labels]...)
		}
	}
	snap := m.snapshot()
	gauge(descSettled, number(snap.Settled))
	gauge(descIsolated, number(snap.Isolated))
	members, overrides, clients := map[[2]string]int{}, map[[2]string]int{{"merge"}: 0, {"pin"}: 0}, map[[2]string]int{}
	var bad int
	for _, mem := range snap.Members {
		members[[2]string{string(mem.Role), string(mem.Liveness)}]++
		if mem.Quarantine != "" {
			bad++
		}
	}
	for _, s := range snap.Services {
		served := len(s.Served())
		gauge(descEndpoints, float64(served), s.Name, "true")
		gauge(descEndpoints, float64(len(s.Hosts)-served), s.Name, "false")
		if s.Guard != nil {
			gauge(descHeld, float64(s.Guard.Held), s.Name)
			gauge(descAlive, float64(s.Guard.Contradicted), s.Name)
		}
		if s.Mode != "auto" {
			overrides[[2]string{string(s.Mode)}]++
		}
	}
	count := m.clients()
	for transport, n := range count.Transports {
		clients[[2]string{transport}] = n
	}
	counts(descMembers, members, 2)
	counts(descOverrides, overrides, 1)
	counts(descClients, clients, 1)
	gauge(descBad, float64(bad))
	gauge(descNACKs, float64(count.NACKing))
	gauge(descExpired, float64(count.Expired))
}

func number(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// counts are counters of parts that know nothing of metrics.
type counts struct {
	panics  *prometheus.CounterVec // by where they were caught
	records *prometheus.CounterVec // that could not be read, by kind
}

func newCounts() counts {
	c := counts{
		panics: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rollcall_panics_total", Help: "Panics that ended a request, stream, message or transaction only, by where: http, xds, gossip, database.",
		}, []string{"where"}),
		records: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "rollcall_database_unreadable_records_total", Help: "Records of the database that were skipped because they cannot be read, by kind: override, audit, member.",
		}, []string{"kind"}),
	}
	for _, where := range []string{panics.HTTP, panics.XDS, panics.Gossip, panics.Database} {
		c.panics.WithLabelValues(where)
	}
	for _, kind := range []string{override.UnreadableOverride, override.UnreadableAudit, follow.UnreadableMember} {
		c.records.WithLabelValues(kind)
	}
	return c
}

// unreadable counts a record that was skipped.
func (c counts) unreadable(kind string) { c.records.WithLabelValues(kind).Inc() }
