package decide

import (
	"log/slog"

	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
)

// narrate logs which endpoints were added and removed, and when guard or isolation kept
// endpoints in service.
func narrate(logger *slog.Logger, before, now *registry.Snapshot) {
	switch {
	case now.Settled && !before.Settled:
		logger.Info("gossip has settled", "members", len(now.Members), "services", len(now.Services))
	case !now.Settled:
		return
	}
	switch {
	case now.Isolated && !before.Isolated:
		logger.Error("no endpoint answers: this server may be partitioned; keeping all endpoints in service")
	case before.Isolated && !now.Isolated:
		logger.Info("endpoints answer again")
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
		logger.Error("endpoints refuse connections but their processes answer challenges: check for a firewall or a broken link; keeping them in service", "service", now.Name, "endpoints", alive, "of", len(now.Hosts))
	case alive == 0 && before > 0:
		logger.Info("connections to endpoints and answers of their processes agree again", "service", now.Name)
	}
	switch {
	case !was.Guard.Silent() && now.Guard.Silent():
		if !now.Guard.Until.IsZero() {
			logger = logger.With("until", now.Guard.Until)
		}
		logger.Error("guard active: most endpoints of the service stopped answering at once; keeping them in service",
			"service", now.Name, "kept", now.Guard.Held-now.Guard.Contradicted, "of", len(now.Hosts), "release", "rollcall guards release "+now.Name)
	case was.Guard.Silent() && !now.Guard.Silent():
		logger.Info("guard released", "service", now.Name)
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
			logger.Info("endpoint added", "service", now.Name, "address", hosts[0].Addr, "id", hosts[0].ID, "source", hosts[0].Source)
			hosts = hosts[1:]
		case len(hosts) == 0 || old[0].Addr.Compare(hosts[0].Addr) < 0:
			logger.Info("endpoint removed", "service", now.Name, "address", old[0].Addr, "id", old[0].ID, "state", stateOf(now, old[0]))
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
