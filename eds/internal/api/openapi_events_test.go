package api

import (
	"context"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rollcall-fleet/rollcall/eds/internal/events"
	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
	"github.com/rollcall-fleet/rollcall/eds/internal/xds"
)

// schemas are the names in the document of what each kind of event says.
var schemas = map[events.Kind]string{
	events.KindMember: "MemberEvent", events.KindEndpoint: "EndpointEvent", events.KindOverride: "OverrideEvent",
	events.KindClient: "ClientEvent", events.KindGuard: "GuardEvent",
}

func TestDocumentHasEveryFieldOfAnEvent(t *testing.T) {
	doc := loadDocument(t)
	for kind, event := range map[events.Kind]any{
		events.KindMember: events.Member{}, events.KindEndpoint: events.Endpoint{}, events.KindOverride: events.Override{},
		events.KindClient: events.Client{}, events.KindGuard: events.Guard{},
	} {
		var fields, required []string
		for field := range reflect.TypeOf(event).Fields() {
			name, options, _ := strings.Cut(field.Tag.Get("json"), ",")
			fields = append(fields, name)
			if options == "" {
				required = append(required, name)
			}
		}
		schema := doc.Components.Schemas[schemas[kind]].Value
		slices.Sort(fields)
		if documented := slices.Sorted(maps.Keys(schema.Properties)); !slices.Equal(documented, fields) {
			t.Errorf("an event %s has %q, the document %q", kind, fields, documented)
		}
		if !slices.Equal(schema.Required, required) {
			t.Errorf("an event %s always has %q, in the document %q", kind, required, schema.Required)
		}
		if !strings.Contains(doc.Paths.Find("/events").Get.Description, schemas[kind]) {
			t.Errorf("GET /events does not name %s", schemas[kind])
		}
	}
}

func TestEventsHaveTheFormInTheDocument(t *testing.T) {
	r := newRig(t)
	doc := loadDocument(t)
	r.ask(200, "PATCH", hostByID, `{"state":"drain","load_balancing_weight":5,"expires_in":"1h","reason":"disk"}`)
	r.must(201, "POST", "/edsservice/myservice", payload)
	held := *r.registry.Snapshot()
	held.Isolated, held.Services = true, slices.Clone(held.Services)
	held.Services[0].Guard = &registry.Guard{Since: start, Until: start.Add(time.Hour), Held: 1}
	seen := make(map[events.Kind]int)
	synctest.Test(t, func(t *testing.T) {
		hub := events.New(events.Options{
			Overrides: func() ([]override.Override, uint64) { return r.store.InForce() },
			Clients:   func(uint64) ([]xds.Client, uint64) { return []xds.Client{stubborn()}, 1 },
		})
		ctx, stop := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { hub.Run(ctx) })
		defer func() {
			stop()
			running.Wait()
		}()
		reader, err := hub.Subscribe("")
		if err != nil {
			t.Fatal(err)
		}
		defer reader.Close()
		for _, snap := range []*registry.Snapshot{r.registry.Snapshot(), &held, {}} {
			hub.Update(snap)
			time.Sleep(2 * time.Second) // the hub looks at its clients each second
			taken, err := reader.Take()
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range taken {
				var data any
				if err := json.Unmarshal(e.Data, &data); err != nil {
					t.Fatal(err)
				}
				if err := doc.Components.Schemas[schemas[e.Kind]].Value.VisitJSON(data); err != nil {
					t.Errorf("an event %s has %s: %v", e.Kind, e.Data, err)
				}
				seen[e.Kind]++
			}
		}
	})
	if len(seen) != len(schemas) {
		t.Errorf("seen are %v", seen)
	}
}
