package xds

import (
	"context"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
)

// OnStreamRequest reads a state-of-the-world request for what it acknowledges, and
// takes out what it asks for. go-control-plane calls it for stale nonces too, which
// acks tells apart.
func (s *stream) OnStreamRequest(_ int64, req *discoveryv3.DiscoveryRequest) error {
	asks := asked{names: req.GetResourceNames()}
	req.ResourceNames = nil
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
	r := request{node: node, names: asks.names, version: req.GetVersionInfo(), verdict: verdictSubscribe}
	if e := req.GetErrorDetail(); e != nil {
		sent, pending := s.client.acks.reject(req.GetResponseNonce(), e.GetMessage(), time.Now())
		r.verdict, r.reason, r.version, r.repeated = verdictNACK, e.GetMessage(), sent.version, !pending
	} else if !s.client.acks.waits(req.GetResponseNonce()) {
		s.asked.again = true
	} else if sent, ok := s.client.acks.ackVersion(req.GetResponseNonce(), req.GetVersionInfo()); ok {
		r.verdict = verdictACK
		s.finish(sent)
	}
	s.heard(r)
	return nil
}

// CreateWatch opens a state-of-the-world watch. go-control-plane makes a channel
// of capacity one for each, and drops what is in the older one.
//
// A request that judges no response is answered though nothing may have changed: the
// first one, whatever version it names, and each one that repeats a nonce. Envoy
// repeats it when it needs the names again: for a cluster that CDS updated, or removed
// and added again, or that shares its service with another one. That cluster waits for
// the answer.
func (s *stream) CreateWatch(req *cachev3.Request, _ cachev3.Subscription, out chan cachev3.Response) (func(), error) {
	if req.GetTypeUrl() != typeV3 {
		return nil, nil
	}
	s.subscribed.set(s.asked.names)
	names, before := s.subscribed.names, s.watcher.names
	ch := change{
		add: names.minus(before), remove: before.minus(names), resend: s.subscribed.of(s.asked.finish), all: s.subscribed.all, fresh: true,
	}
	ch.due = (s.asked.again || !s.started) && !s.subscribed.empty()
	s.asked = asked{}
	if !s.started {
		ch.claim = req.GetVersionInfo()
	}
	return s.interest(ch, func() {
		select {
		case out <- sotwResponse{answer{s}, req}:
		default: // cannot happen: one watch, one response
		}
	})
}

// OnStreamResponse notes what go-control-plane is about to send.
func (s *stream) OnStreamResponse(_ context.Context, _ int64, _ *discoveryv3.DiscoveryRequest, resp *discoveryv3.DiscoveryResponse) {
	s.pushed(resp.GetNonce(), true)
}

// sotwResponse answers with every name that the stream asked for.
type sotwResponse struct {
	answer
	req *discoveryv3.DiscoveryRequest
}

var _ cachev3.Response = sotwResponse{}

// GetRequest returns the request that opened the watch.
func (r sotwResponse) GetRequest() *discoveryv3.DiscoveryRequest { return r.req }

// GetDiscoveryResponse collects what is current. The resources come in when the
// response is sent.
func (r sotwResponse) GetDiscoveryResponse() (*discoveryv3.DiscoveryResponse, error) {
	p := r.stream.collect(true)
	return &discoveryv3.DiscoveryResponse{VersionInfo: p.version, TypeUrl: typeV3}, p.err()
}
