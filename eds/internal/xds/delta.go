package xds

import (
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
)

const wildcardName = "*"

// OnStreamDeltaRequest reads a delta request for what it acknowledges, and takes out
// what it asks for. A delta request carries a nonce only to acknowledge or to reject.
func (s *stream) OnStreamDeltaRequest(_ int64, req *discoveryv3.DeltaDiscoveryRequest) error {
	if req.GetTypeUrl() == "" { // go-control-plane fills it in only later, and refuses it on ADS
		req.TypeUrl = s.defaultType
	}
	asks := asked{
		names: req.GetResourceNamesSubscribe(), dropped: req.GetResourceNamesUnsubscribe(), initial: req.GetInitialResourceVersions(),
	}
	req.ResourceNamesSubscribe, req.ResourceNamesUnsubscribe, req.InitialResourceVersions = nil, nil, nil
	if ok, err := s.ours(req.GetTypeUrl()); !ok {
		return err
	}
	node, err := s.meet(req.GetNode())
	if err != nil {
		return err
	}
	if err := s.ask(asks); err != nil {
		return err
	}
	r := request{node: node, names: asks.names, dropped: asks.dropped, verdict: verdictSubscribe}
	if e := req.GetErrorDetail(); e != nil {
		sent, pending := s.client.acks.reject(req.GetResponseNonce(), e.GetMessage(), time.Now())
		r.verdict, r.reason, r.version, r.repeated = verdictNACK, e.GetMessage(), sent.version, !pending
		r.names = sent.names()
	} else if sent, ok := s.client.acks.ack(req.GetResponseNonce()); ok {
		r.verdict, r.version, r.names = verdictACK, sent.version, sent.names()
		s.finish(sent)
	}
	s.heard(r)
	return nil
}

// CreateDeltaWatch opens a delta watch. All types of a stream share one channel,
// which go-control-plane drains before each request and closes after it has
// canceled every watch; watcher.queued keeps at most one response of ours in it.
func (s *stream) CreateDeltaWatch(req *cachev3.DeltaRequest, _ cachev3.Subscription, out chan cachev3.DeltaResponse) (func(), error) {
	if req.GetTypeUrl() != typeV3 {
		return nil, nil
	}
	return s.interest(s.deltaChange(), func() {
		select {
		case out <- deltaResponse{answer{s}, req}:
		default: // cannot happen: the channel holds two for each type
		}
	})
}

// deltaChange reads what the request adds and removes. A name that is subscribed
// again is sent again: the client may have dropped it meanwhile. On the first request,
// names that the client has in their current version are not sent
// (DeltaDiscoveryRequest.initial_resource_versions).
func (s *stream) deltaChange() change {
	s.subscribed.change(s.asked.names, s.asked.dropped)
	ch := change{all: s.subscribed.all, resend: s.subscribed.of(s.asked.finish)}
	if !s.started {
		ch.initial, ch.claims = s.asked.initial, true
		ch.due = ch.all && len(ch.initial) == 0 // a wildcard client waits for the answer that there is nothing
	}
	ch.add = make([]string, 0, len(s.asked.names))
	for _, name := range s.asked.names {
		if s.subscribed.names.has(name) {
			ch.add = append(ch.add, name)
		}
	}
	for _, name := range s.asked.dropped {
		if name != wildcardName && !s.subscribed.names.has(name) {
			ch.remove = append(ch.remove, name)
			if ch.all { // the wildcard still covers it, and the client waits for its content
				ch.resend = append(ch.resend, name)
			}
		}
	}
	s.asked = asked{} // all of it is in ch
	return ch
}

// OnStreamDeltaResponse notes what go-control-plane is about to send.
func (s *stream) OnStreamDeltaResponse(_ int64, _ *discoveryv3.DeltaDiscoveryRequest, resp *discoveryv3.DeltaDiscoveryResponse) {
	s.pushed(resp.GetNonce(), false)
}

// deltaResponse answers with what the client does not have yet.
type deltaResponse struct {
	answer
	req *discoveryv3.DeltaDiscoveryRequest
}

var _ cachev3.DeltaResponse = deltaResponse{}

// GetDeltaRequest returns the request that opened the watch.
func (r deltaResponse) GetDeltaRequest() *discoveryv3.DeltaDiscoveryRequest { return r.req }

// GetDeltaDiscoveryResponse collects what is current. The resources come in when
// the response is sent.
func (r deltaResponse) GetDeltaDiscoveryResponse() (*discoveryv3.DeltaDiscoveryResponse, error) {
	p := r.stream.collect(false)
	return &discoveryv3.DeltaDiscoveryResponse{SystemVersionInfo: p.version, TypeUrl: typeV3}, p.err()
}
