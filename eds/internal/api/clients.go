package api

import (
	"net/http"
	"time"

	"github.com/rollcall-fleet/rollcall/eds/internal/xds"
	"github.com/rollcall-fleet/rollcall/internal/text"
)

type clientView struct {
	Node      string              `json:"node"`
	Transport string              `json:"transport"`
	Peer      string              `json:"peer"`
	Connected time.Time           `json:"connected"`
	Seen      time.Time           `json:"seen"`
	Services  []clientServiceView `json:"services"`
	NACK      *nackView           `json:"last_nack,omitzero"`

	CertExpired time.Time `json:"certificate_expired,omitzero"`
}

type clientServiceView struct {
	Name  string `json:"name"`
	Sent  string `json:"sent_version"`
	Acked string `json:"acked_version"`

	BehindSince time.Time `json:"behind_since,omitzero"`
}

type nackView struct {
	Version string    `json:"version"`
	Detail  string    `json:"detail"`
	At      time.Time `json:"at"`
}

func viewClient(c xds.Client) clientView {
	v := clientView{
		Node: text.Name(c.Node), Transport: c.Transport, Peer: c.Peer, Connected: c.Connected, Seen: c.Seen, CertExpired: c.CertExpired,
		Services: make([]clientServiceView, 0, len(c.Services)),
	}
	for _, s := range c.Services {
		v.Services = append(v.Services, clientServiceView{Name: s.Name, Sent: s.Sent, Acked: s.Acked, BehindSince: s.BehindSince})
	}
	if c.NACK != nil {
		v.NACK = &nackView{Version: c.NACK.Version, Detail: c.NACK.Detail, At: c.NACK.At}
	}
	return v
}

func (a *api) listClients(w http.ResponseWriter, _ *http.Request) error {
	clients := a.Clients()
	views := make([]clientView, 0, len(clients))
	for _, c := range clients {
		views = append(views, viewClient(c))
	}
	return answer(w, http.StatusOK, map[string]any{"clients": views})
}
