package xds

import (
	"encoding/json"
	"net/http"
)

// registration is a service in the form of Envoy's v1 service discovery.
type registration struct {
	Hosts []registeredHost `json:"hosts"`
}

type registeredHost struct {
	IPAddress string         `json:"ip_address"`
	Port      uint16         `json:"port"`
	Tags      registeredTags `json:"tags"`
}

type registeredTags struct {
	AZ     string `json:"az"`
	Canary bool   `json:"canary"`
	Weight uint32 `json:"load_balancing_weight"`
}

// ServeRegistration answers GET /v1/registration/{service}: 200 with the hosts
// that serve it, none for an unknown service; 503 until the pool has settled.
// Weights are not scaled, though v1 defines them from 1 to 100
// (Envoy 1.8, api-v1/cluster_manager/sds).
func (s *Server) ServeRegistration(w http.ResponseWriter, r *http.Request, service string) {
	id, err := s.named(r.TLS)
	if err != nil {
		refuse(w, http.StatusUnauthorized, err)
		return
	}
	if err := s.allowed(id, []string{service}, false); err != nil {
		refuse(w, http.StatusForbidden, err)
		return
	}
	current, settled := s.cache.find([]string{service}, "")
	s.logger.Debug("registration request", "peer", r.RemoteAddr, "service", shorten(service, maxNode))
	if !settled {
		refuse(w, http.StatusServiceUnavailable, errNotSettled)
		return
	}
	writeJSON(w, func() ([][]byte, error) {
		b, err := json.Marshal(register(current.resources[0].hosts))
		return [][]byte{b}, err
	})
}

func register(hosts []served) registration {
	reg := registration{Hosts: []registeredHost{}}
	for _, h := range hosts {
		reg.Hosts = append(reg.Hosts, registeredHost{
			IPAddress: h.Addr.Addr().String(), Port: h.Addr.Port(),
			Tags: registeredTags{AZ: h.Locality.Zone, Canary: h.Canary, Weight: h.Weight},
		})
	}
	return reg
}
