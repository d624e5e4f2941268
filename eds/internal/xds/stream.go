package xds

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"maps"
	"slices"
	"sync/atomic"
	"time"
	"unique"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rollcall-fleet/rollcall/internal/text"
)

// The bounds of one stream. reflect.Select, which go-control-plane waits with,
// panics past 65,536 cases, so the number of types must be bounded.
const (
	maxNameLen = 1024 // bytes; longer ones cannot be a service here (fleet.MaxServiceName)
	maxTypes   = 32   // that are not ours, on an aggregated stream
)

// stream is one gRPC stream. It is the cachev3.ConfigWatcher and the callbacks
// of a go-control-plane server of its own, which calls it from the stream's
// goroutine only; that server keeps the protocol, the stream keeps the state.
type stream struct {
	server      *Server
	client      *client
	defaultType string // of requests that name none; "" on ADS
	watcher     *watcher
	asked       asked               // by a request, until its watch is opened
	subscribed  subscription        // what all of them come to
	all         bool                // the wildcard was part of it when the watch was opened last
	id          string              // of its certificate, else the node id that it sent first
	started     bool                // a first request for assignments was seen
	others      map[string]struct{} // further types that were asked for, and are never answered
	pushing     push                // collected, until it is sent

	closed atomic.Bool // by the client, without an error
}

func (s *Server) newStream(c *client, defaultType string) *stream {
	return &stream{
		server: s, client: c, defaultType: defaultType, others: make(map[string]struct{}),
		watcher: &watcher{hasCurrent: c.acks.hasCurrent, advance: c.acks.advance, since: c.acks.since, stale: make(map[string]struct{})},
	}
}

// received notes the end of the stream, from go-control-plane's receiving goroutine.
func (s *stream) received(err error) {
	if errors.Is(err, io.EOF) {
		s.closed.Store(true)
	}
}

// shared replaces names, in place, by the strings that all clients share: each client's
// own copy would be kept for as long as it subscribes.
func shared(names []string) {
	for i, name := range names {
		names[i] = unique.Make(name).Value()
	}
}

// ours reports whether a request is for load assignments. On ADS an Envoy may ask
// for other types too; an error would end the stream and the assignments with it,
// so such a watch is held open and never answered.
func (s *stream) ours(typeURL string) (bool, error) {
	if typeURL == typeV3 {
		return true, nil
	}
	if _, ok := s.others[typeURL]; ok {
		return false, nil
	}
	if len(typeURL) > maxTypeURL {
		return false, status.Errorf(codes.InvalidArgument, "the type URL is too long: at most %d bytes are allowed", maxTypeURL)
	}
	if len(s.others) == maxTypes {
		return false, status.Errorf(codes.InvalidArgument, "too many resource types on one stream: at most %d are allowed", maxTypes)
	}
	s.others[typeURL] = struct{}{}
	s.server.logRefusal(slog.LevelInfo, "discovery request for an unsupported resource type", "transport", s.client.transport, "type", shorten(typeURL, maxNode))
	return false, nil
}

// interest applies a request to the watcher and the acknowledgements, and opens a watch.
func (s *stream) interest(ch change, notify func()) (cancel func(), err error) {
	size := 0
	if len(ch.add) > 0 {
		size = s.subscribed.names.size()
	}
	if err := s.within(len(s.subscribed.names), size, ch.add); err != nil {
		return nil, err
	}
	if err := s.server.allowed(s.id, ch.add, ch.all); err != nil {
		return nil, status.Error(codes.PermissionDenied, err.Error())
	}
	s.started = true
	if len(ch.add)+len(ch.remove) > 0 {
		s.watcher.names = s.server.names.shared(s.subscribed.names)
	}
	s.subscribed.names = s.watcher.names
	s.client.acks.subscribe(ch.add)
	s.client.acks.unsubscribe(ch.remove)
	if s.all && !ch.all { // it has received services that it no longer asks for
		s.client.acks.keep(s.subscribed.names)
	}
	s.all = ch.all
	cancel = s.server.cache.watch(s.watcher, ch, notify)
	s.server.lookSoon()
	return cancel, nil
}

// checkNode refuses ids that could not be shown or listed in a policy.
func checkNode(id string) error {
	if text.HasControls(id) {
		return errors.New("the node id has control characters, or is not UTF-8")
	}
	return nil
}

// meet returns the id of the node, which only the first request of a stream must contain.
func (s *stream) meet(node *corev3.Node) (id string, err error) {
	if err := checkNode(node.GetId()); err != nil {
		s.server.opts.Refused(refusedNode)
		return "", status.Error(codes.InvalidArgument, err.Error())
	}
	return node.GetId(), nil
}

// ask keeps what a request asks for until its watch is opened. A request out of
// bounds is refused before it costs anything.
func (s *stream) ask(a asked) error {
	s.asked = a
	count := max(len(a.names), len(a.dropped), len(a.initial))
	size := max(bytesOf(slices.Values(a.names)), bytesOf(slices.Values(a.dropped)), bytesOf(maps.Keys(a.initial)))
	if err := s.within(count, size, nil); err != nil {
		return err
	}
	shared(a.names)
	return nil
}

// within refuses too many names, too many bytes of names, and names that cannot be a
// service's.
func (s *stream) within(count, size int, names []string) error {
	if err := errors.Join(checkCount(count, s.server.opts.MaxNames), checkSize(size, s.server.opts.MaxNameBytes), checkNames(names)); err != nil {
		s.server.opts.Refused(refusedNames)
		return status.Error(codes.InvalidArgument, err.Error())
	}
	return nil
}

// finish notes which services the client is to be sent again after it acknowledged a
// response: those in which it has acknowledged that endpoints leave, but still has them.
func (s *stream) finish(acked sentResponse) {
	if !s.server.departing.Load() {
		return
	}
	for _, r := range s.server.cache.leaving(acked.items) {
		i := slices.IndexFunc(acked.items, func(i item) bool { return i.name == r.name })
		if r.after(s.client.acks.since(r.name)) == r.assignment && r.version() != acked.items[i].version {
			s.asked.finish = append(s.asked.finish, r.name)
		}
	}
}

// collect takes what the response that is about to be sent carries.
func (s *stream) collect(full bool) push {
	s.pushing = s.server.cache.collect(s.watcher, full)
	return s.pushing
}

// pushed notes that what was collected is on its way under this nonce.
func (s *stream) pushed(nonce string, replaces bool) {
	s.client.acks.pushed(s.pushing.as(nonce), replaces)
}

// heard notes a request and logs it: at debug level when it only repeats the one before.
func (s *stream) heard(r request) {
	s.id = cmp.Or(s.id, r.node)
	s.server.logRequest(s.server.clients.heard(s.client, r, time.Now()))
}

// names returns the names in a response.
func (s sentResponse) names() []string {
	names := make([]string, len(s.items))
	for i, item := range s.items {
		names[i] = item.name
	}
	return names
}

// answer is what the two kinds of response have in common. Both are only filled
// when go-control-plane asks for the message, so that a stream that was busy
// sends what is current by then.
type answer struct{ stream *stream }

// GetReturnedResources returns an empty map: what the client has is known from
// the stale names. It may not be nil, go-control-plane writes to it.
func (answer) GetReturnedResources() map[string]string { return map[string]string{} }

// GetNextVersionMap is the older name of GetReturnedResources.
func (answer) GetNextVersionMap() map[string]string { return map[string]string{} }

// GetResponseVersion returns the version of what was collected.
func (a answer) GetResponseVersion() string { return a.stream.pushing.version }

// GetVersion is the older name of GetResponseVersion.
func (a answer) GetVersion() (string, error) { return a.stream.pushing.version, nil }

// GetSystemVersion is the older name of GetResponseVersion.
func (a answer) GetSystemVersion() (string, error) { return a.stream.pushing.version, nil }

// GetContext returns a context that carries nothing.
func (answer) GetContext() context.Context { return context.Background() }

func checkCount(n, limit int) error {
	if n > limit {
		return fmt.Errorf("too many resource names, at most %d are allowed", limit)
	}
	return nil
}

// bytesOf is how many bytes names have.
func bytesOf(names iter.Seq[string]) (n int) {
	for name := range names {
		n += len(name)
	}
	return n
}

func checkSize(n, limit int) error {
	if n > limit {
		return fmt.Errorf("resource names of %d bytes, at most %d are allowed", n, limit)
	}
	return nil
}

func checkNames(names []string) error {
	for _, name := range names {
		if name == "" {
			return errors.New("a resource name is empty")
		}
		if len(name) > maxNameLen {
			return fmt.Errorf("resource name %q… is %d bytes long, at most %d are allowed", name[:32], len(name), maxNameLen)
		}
	}
	return nil
}

// The callbacks that need nothing done: newStream and Serve see to it.

func (s *stream) OnStreamOpen(context.Context, int64, string) error      { return nil }
func (s *stream) OnStreamClosed(int64, *corev3.Node)                     {}
func (s *stream) OnDeltaStreamOpen(context.Context, int64, string) error { return nil }
func (s *stream) OnDeltaStreamClosed(int64, *corev3.Node)                {}
