// Package api is the HTTP port of an EDS server: what operators read and decide,
// the REST flavours of discovery, and the console that explains them. Handlers
// read the registry's Snapshot, write to the override store, and turn errors into
// problem documents in one place. Package api holds no state of its own.
package api

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/gorilla/mux"

	"github.com/rollcall-fleet/rollcall/eds/internal/events"
	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
	"github.com/rollcall-fleet/rollcall/eds/internal/xds"
)

// Registry is where the present truth is read.
type Registry interface {
	// Snapshot returns the latest Snapshot, never nil.
	Snapshot() *registry.Snapshot
	// Wait returns nil once Snapshot().Revision is at least revision, and an error
	// when ctx ends first.
	Wait(ctx context.Context, revision uint64) error
	// Confirm lets the guard of a service go, and reports whether it was holding.
	Confirm(ctx context.Context, service string) (bool, error)
}

// Overrides is where operators' overrides are kept. A write returns after it is
// durable, with the revision that has it.
type Overrides interface {
	Edit(e override.Edit) (override.Override, uint64, error)
	Revoke(k override.Key, actor, reason string, ifMatch func(service, overrideTag string) bool) (override.Override, uint64, error)
	InForce() ([]override.Override, uint64)
	Get(id string) (override.Override, bool)
	ServiceTag(service string) string
	Audit(since time.Time, limit int, before string) ([]override.Entry, error)
	Note(d override.Done) error
}

// Discovery answers Envoys that poll over REST, and bounds what it reads of them.
type Discovery interface {
	ServeRESTv3(w http.ResponseWriter, r *http.Request)
	ServeRESTv2(w http.ResponseWriter, r *http.Request)
	ServeRegistration(w http.ResponseWriter, r *http.Request, service string)
}

// Options are the parts that the HTTP port puts together; all are required.
type Options struct {
	Registry  Registry
	Overrides Overrides
	Discovery Discovery
	Clients   func() []xds.Client // the xDS clients there are now
	Standings func(service string) xds.Standings
	Events    func(lastID string) (*events.Reader, error) // GET /events
	Keys      Keyring
	Metrics   http.Handler        // GET /metrics
	Refused   func(reason string) // called for each refusal for lack of room
	Logger    *slog.Logger
}

// New returns the handler of the whole HTTP port. It may be called from any
// goroutine and starts none.
func New(opts Options) http.Handler { return harden(newRouter(opts)) }

type api struct{ Options }

// serviceVar matches everything below its prefix, so that a name that is empty or
// has a slash gets an error that says what is wrong with it.
const serviceVar = "{service:.*}"

// hostPath names a host of a service by its uuid or ip:port, and comes before the
// path of the service.
const hostPath = "/edsservice/{service:[^/]*}/hosts/{host:.*}"

func newRouter(opts Options) *mux.Router {
	a := &api{opts}
	r := mux.NewRouter().UseEncodedPath().SkipClean(true)
	r.NotFoundHandler = a.edge(notFound)
	r.MethodNotAllowedHandler = a.edge(methodNotAllowed(r))

	get := func(path string, h handler) { r.Handle(path, a.edge(h)).Methods(http.MethodGet, http.MethodHead) }
	on := func(method, path string, h handler) { r.Handle(path, a.edge(h)).Methods(method) }

	get("/edsservice", a.listServices)
	get(hostPath, a.getHost)
	on(http.MethodPatch, hostPath, a.patchHost)
	on(http.MethodDelete, hostPath, a.releaseHost)
	get("/edsservice/"+serviceVar, a.getService)
	on(http.MethodPost, "/edsservice/"+serviceVar, a.createOverride)
	on(http.MethodPut, "/edsservice/"+serviceVar, a.replaceOverride)
	on(http.MethodDelete, "/edsservice/"+serviceVar, a.deleteOverride)
	get("/overrides", a.listOverrides)
	get("/overrides/{id}", a.getOverride)
	on(http.MethodDelete, "/overrides/{id}", a.revokeOverride)
	get("/audit", a.listAudit)
	on(http.MethodGet, "/events", a.streamEvents)
	get("/guards", a.listGuards)
	on(http.MethodDelete, "/guards/"+serviceVar, a.confirmGuard)
	get("/members", a.listMembers)
	get("/clients", a.listClients)
	get("/keys", a.listKeys)
	on(http.MethodPost, "/keys", a.addKey)
	on(http.MethodPut, "/keys/{fingerprint:[0-9a-f]+}", a.useKey)
	on(http.MethodDelete, "/keys/{fingerprint:[0-9a-f]+}", a.removeKey)

	r.HandleFunc("/v3/discovery:endpoints", opts.Discovery.ServeRESTv3).Methods(http.MethodPost)
	r.HandleFunc("/v2/discovery:endpoints", opts.Discovery.ServeRESTv2).Methods(http.MethodPost)
	get("/v1/registration/"+serviceVar, a.registration)

	get("/healthz", healthz)
	get("/readyz", a.readyz)
	r.Handle("/metrics", opts.Metrics).Methods(http.MethodGet, http.MethodHead)

	get("/", consolePage)
	get("/openapi.yaml", openAPIDocument)
	r.Handle("/console/{file}", consoleFiles()).Methods(http.MethodGet, http.MethodHead)
	return r
}

// harden sets the headers that every answer has unless its handler knows better.
func harden(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}
