package auth

import (
	"fmt"
	"log/slog"

	"sigs.k8s.io/yaml"

	"github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/internal/reload"
)

// everyService in a policy stands for all of them.
const everyService = "*"

// Policy says which services each Envoy may read. It never changes.
type Policy struct{ services map[string]map[string]bool } // by id

// ParsePolicy reads a policy, in YAML or JSON: for each id, the SPIFFE id or common
// name of a client certificate or else a node id, the list of services that it may
// read. "*" is every service, and as an id it stands for those that are not listed.
func ParsePolicy(file []byte) (Policy, error) {
	var lists map[string][]string
	if err := yaml.UnmarshalStrict(file, &lists); err != nil {
		return Policy{}, fmt.Errorf("not a map from ids to lists of services: %w", err)
	}
	p := Policy{make(map[string]map[string]bool, len(lists))}
	for id, list := range lists {
		p.services[id] = make(map[string]bool, len(list))
		for _, service := range list {
			if service != everyService {
				if err := fleet.CheckService(service); err != nil {
					return Policy{}, fmt.Errorf("of %q: %w", id, err)
				}
			}
			p.services[id][service] = true
		}
	}
	return p, nil
}

// Allows reports whether id may read service; "*" as the service asks for all.
func (p Policy) Allows(id, service string) bool {
	list, ok := p.services[id]
	if !ok || id == "" {
		list = p.services["*"]
	}
	return list[service] || list[everyService]
}

// FollowPolicy returns Allows of the policy in a file, whichever it is at the time.
func FollowPolicy(path string, logger *slog.Logger) (allows func(id, service string) bool, err error) {
	current, err := reload.New(logger, func() (Policy, error) {
		file, err := reload.ReadFile(path, maxFile)
		if err != nil {
			return Policy{}, fmt.Errorf("read the policy: %w", err)
		}
		p, err := ParsePolicy(file)
		if err != nil {
			err = fmt.Errorf("policy %s: %w", path, err)
		}
		return p, err
	}, path)
	if err != nil {
		return nil, err
	}
	return func(id, service string) bool { return current.Get().Allows(id, service) }, nil
}
