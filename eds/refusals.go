package eds

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/rollcall-fleet/rollcall/eds/internal/admit"
	"github.com/rollcall-fleet/rollcall/eds/internal/descriptors"
	"github.com/rollcall-fleet/rollcall/gossip"
)

var (
	descRefusedNow = prometheus.NewDesc("rollcall_members_refused", "Members that may have no endpoint now, by cause.", []string{"cause"}, nil)
	descGossip     = prometheus.NewDesc("rollcall_gossip_refused_total", "What gossip refused: claims of another's id, forged messages and members, strangers' addresses, members over a bound.", []string{"cause"}, nil)
	descBounds     = prometheus.NewDesc("rollcall_bound", "The most there may be of something.", []string{"of"}, nil)
)

// refusals shows what is refused, and the bounds.
type refusals struct {
	admission *admit.Admission
	gossip    func() gossip.Refused
	bounds    map[string]int
}

// Describe implements prometheus.Collector.
func (r refusals) Describe(ch chan<- *prometheus.Desc) {
	ch <- descRefusedNow
	ch <- descGossip
	ch <- descBounds
}

// Collect implements prometheus.Collector.
func (r refusals) Collect(ch chan<- prometheus.Metric) {
	now := r.admission.Refused()
	for _, c := range admit.Causes {
		ch <- prometheus.MustNewConstMetric(descRefusedNow, prometheus.GaugeValue, float64(now[c]), string(c))
	}
	g := r.gossip()
	for cause, n := range map[string]uint64{
		"conflict": g.Conflicts, "forged": g.Forged, "stranger": g.Strangers,
		"members": g.Crowded, "members_per_address": g.CrowdedAddr, "joins": g.Hurried, "connections": g.Connections,
	} {
		ch <- prometheus.MustNewConstMetric(descGossip, prometheus.CounterValue, float64(n), cause)
	}
	for of, n := range r.bounds {
		ch <- prometheus.MustNewConstMetric(descBounds, prometheus.GaugeValue, float64(n), of)
	}
}

// bounds are those that opts set.
func bounds(opts Options, files *descriptors.Descriptors) map[string]int {
	t, a := opts.Trust, opts.Access
	return map[string]int{
		"members":             t.Bounds.MaxMembers,
		"members_per_address": t.Bounds.MaxMembersPerAddr,
		"gossip_connections":  t.Bounds.MaxConnections,
		"gossip_bytes":        int(t.Bounds.MaxBytes),
		"services":            t.MaxServices,
		"endpoints":           t.MaxEndpoints,
		"xds_clients":         a.Clients,
		"xds_streams":         a.Streams,
		"xds_names":           a.Names,
		"xds_name_bytes":      a.NameBytes,
		"request_bytes":       int(a.RequestBytes),
		"overrides_ended":     a.Overrides,
		"overrides":           a.Overrides,
		"probe_connections":   files.Most(),
		"event_readers":       a.Readers,
		"connections":         a.Connections,
	}
}
