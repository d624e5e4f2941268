package decide

import (
	"log/slog"

	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
)

// narrate logs what an operator wants to have been told: who came and went and
// why, and every refusal to believe.
func narrate(logger *slog.Logger, before, now *registry.Snapshot) {
	switch {
	case now.Settled && !before.Settled:
		logger.Info("gossip has settled", "members", len(now.Members), "services", len(now.Services))
	case !now.Settled:
		return
	}
	switch {
	case now.Isolated && !before.Isolated:
		logger.Error("nobody is heard any more: this server may be cut off, so it takes nobody out")
	case before.Isolated && !now.Isolated:
		logger.Info("somebody is heard again")
	}
	for _, s := range now.Services {
		was, _ := before.Find(s.Name)
		narrateGuard(logger, was, s)
		narrateHosts(logger, was, s)
	}
	for _, s := range before.Services {
		if _, ok := now.Find(s.Name); !ok {
			narrateHosts(logger, s, registry.Service{Name: s.Name})
		}
	}
}

func narrateGuard(logger *slog.Logger, was, now registry.Service) {
	alive, before := contradicted(now.Guard), contradicted(was.Guard)
	switch {
	case alive > 0 && before == 0:
		logger.Error("endpoints are alive by a fresh answer although connections to them fail: a firewall or a broken link may be between, keeping them in service", "service", now.Name, "endpoints", alive, "of", len(now.Hosts))
	case alive == 0 && before > 0:
		logger.Info("no endpoint is contradicted any more", "service", now.Name)
	}
	switch {
	case !was.Guard.Silent() && now.Guard.Silent():
		if !now.Guard.Until.IsZero() {
			logger = logger.With("until", now.Guard.Until)
		}
		logger.Error("the guard holds: more of the service fell silent at once than can be believed", "service", now.Name, "held", now.Guard.Held-now.Guard.Contradicted)
	case was.Guard.Silent() && !now.Guard.Silent():
		logger.Info("the guard has let go", "service", now.Name)
	}
}

func contradicted(g *registry.Guard) int {
	if g == nil {
		return 0
	}
	return g.Contradicted
}

// narrateHosts compares two lists that are sorted alike.
func narrateHosts(logger *slog.Logger, was, now registry.Service) {
	if was.Same(now) {
		return
	}
	old, hosts := was.Served(), now.Served()
	for len(old) > 0 || len(hosts) > 0 {
		switch {
		case len(old) == 0 || (len(hosts) > 0 && hosts[0].Addr.Compare(old[0].Addr) < 0):
			logger.Info("host is served", "service", now.Name, "address", hosts[0].Addr, "id", hosts[0].ID, "source", hosts[0].Source)
			hosts = hosts[1:]
		case len(hosts) == 0 || old[0].Addr.Compare(hosts[0].Addr) < 0:
			logger.Info("host is not served any more", "service", now.Name, "address", old[0].Addr, "id", old[0].ID, "state", stateOf(now, old[0]))
			old = old[1:]
		default:
			old, hosts = old[1:], hosts[1:]
		}
	}
}

func stateOf(s registry.Service, was *registry.Host) string {
	if hosts := s.At(was.Addr); len(hosts) > 0 {
		return hosts[0].State
	}
	return "gone"
}
