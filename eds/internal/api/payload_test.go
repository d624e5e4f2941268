package api

import (
	"reflect"
	"runtime"
	"strings"
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
		entries := make(hostEntries, 0, len(hosts))
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

// An entry takes 3 bytes of a body and many times that in memory.
func TestNoListTakesManyTimesItsBytes(t *testing.T) {
	body := []byte(`{"hosts":[` + strings.Repeat(`{},`, 300_000) + `{}]}`)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := decodeHosts(body)
	runtime.ReadMemStats(&after)
	if err == nil {
		t.Error("a list of empty hosts is taken")
	}
	if got := after.TotalAlloc - before.TotalAlloc; got > 10*uint64(len(body)) {
		t.Errorf("%d bytes are read for %d", got, len(body))
	}
	for body, want := range map[string]string{
		`{"hosts":"a"}`:             "hosts is not a list",
		`{"hosts":{}}`:              "hosts is not a list",
		`{"hosts":null}`:            "hosts is missing",
		`{"hosts":[{"port":"a"}]}`:  "hosts[0].port is not a whole number",
		`{"hosts":[{},{"more":1}]}`: "hosts[1].more is not a field that can be set",
		`{"hosts":[{}`:              "the body is not JSON",
	} {
		if _, err := decodeHosts([]byte(body)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", body, err, want)
		}
	}
}
