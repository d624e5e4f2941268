package xds

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// list returns every client, sorted.
func (t *clients) list(now time.Time) []Client {
	list, acks := t.views(now)
	for i := range list { // without the lock: this is what takes long
		list[i].Services, list[i].NACK = acks[i].list()
	}
	sortClients(list)
	return list
}

func sortClients(list []Client) {
	slices.SortFunc(list, func(a, b Client) int {
		return cmp.Or(strings.Compare(a.Node, b.Node), strings.Compare(a.Transport, b.Transport),
			a.Connected.Compare(b.Connected), strings.Compare(a.Peer, b.Peer))
	})
}

// connected returns every client, sorted, without its services, and the revision of
// that; nil where it is the one that was known.
func (t *clients) connected(known uint64, now time.Time) ([]Client, uint64) {
	revision := t.swept(now)
	if revision == known {
		return nil, known
	}
	list, acks := t.views(now) // a client that connects meanwhile is in it, and changes the revision
	for i := range list {
		list[i].NACK = acks[i].refusal()
	}
	sortClients(list)
	return list, revision
}

// views returns what the table itself knows of every client, and what each has
// acknowledged.
func (t *clients) views(now time.Time) (list []Client, acked []*acks) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sweep(now)
	add := func(c *client) {
		list = append(list, Client{Node: c.node, Transport: c.transport, Peer: c.peer, Connected: c.connected, Seen: c.seen, CertExpired: c.expired})
		acked = append(acked, &c.acks)
	}
	list, acked = make([]Client, 0, len(t.streams)+len(t.pollers)), make([]*acks, 0, len(t.streams)+len(t.pollers))
	for c := range t.streams {
		add(c)
	}
	for _, c := range t.pollers {
		add(c)
	}
	return list, acked
}
