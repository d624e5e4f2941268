package api

import (
	"reflect"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
)

// Whatever the decoder accepts, the store accepts, and a client that reads it
// back and sends it again gets the same.
func FuzzDecodeHosts(f *testing.F) {
	f.Add([]byte(payload))
	f.Add([]byte(`{"hosts":[{"ip_address":"fd00::1","port":1,"tags":{"region":"r","x":"y"},"probe":true}]}`))
	for _, tt := range badBodies {
		if len(tt.body) < 1000 {
			f.Add([]byte(tt.body))
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		hosts, err := decodeHosts(body)
		if err != nil {
			return
		}
		if err := (override.Override{Key: override.Key{Service: "any"}, Mode: override.Merge, Hosts: hosts}).Check(); err != nil {
			t.Fatalf("accepted %q: %v", body, err)
		}
		entries := make([]hostEntry, 0, len(hosts))
		for _, h := range hosts {
			entries = append(entries, hostEntry{IPAddress: new(h.Addr.Addr().String()), Port: new(int64(h.Addr.Port())), Tags: tagsOf(h.Endpoint), Probe: h.Probe})
		}
		again, err := json.Marshal(hostList{Hosts: &entries})
		if err != nil {
			t.Fatal(err)
		}
		if back, err := decodeHosts(again); err != nil || !reflect.DeepEqual(back, hosts) {
			t.Fatalf("%s came back as %+v, %v, want %+v", again, back, err, hosts)
		}
	})
}
