package xds

import (
	"crypto/sha256"
	"strings"
	"sync"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// The bounds of what is kept of polls.
const (
	maxRepeats    = 10_000
	maxRepeatSize = 1024 // bytes of names, version and node id
)

// repeats are recent polls, decoded. An Envoy that received nothing new repeats its
// request with each poll, and most of that is about itself: decoding it costs more than
// all the rest of the answer.
type repeats struct {
	mu    sync.Mutex
	polls map[poll]*discoveryv3.DiscoveryRequest // read-only
}

// poll identifies a request: the digest of its body, and the version of the API.
type poll struct {
	typeURL string
	digest  [sha256.Size]byte
}

// decode is decodePoll with a cache. What it returns is read-only.
func (r *repeats) decode(body []byte, typeURL string) (*discoveryv3.DiscoveryRequest, error) {
	key := poll{typeURL, sha256.Sum256(body)}
	if req := r.find(key); req != nil {
		return req, nil
	}
	req, err := decodePoll(body, typeURL)
	if err == nil && req.GetErrorDetail() == nil {
		r.keep(key, req)
	}
	return req, err
}

func (r *repeats) find(key poll) *discoveryv3.DiscoveryRequest {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.polls[key]
}

// keep keeps of req what an answer is made of.
func (r *repeats) keep(key poll, req *discoveryv3.DiscoveryRequest) {
	size := len(req.GetVersionInfo()) + len(req.GetNode().GetId())
	for _, name := range req.GetResourceNames() {
		size += len(name)
	}
	if size > maxRepeatSize {
		return
	}
	kept := &discoveryv3.DiscoveryRequest{
		VersionInfo: strings.Clone(req.GetVersionInfo()), ResourceNames: req.GetResourceNames(),
		Node: &corev3.Node{Id: strings.Clone(req.GetNode().GetId())},
	}
	shared(kept.ResourceNames)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.polls == nil || len(r.polls) == maxRepeats { // those that are still in use return with the next polls
		r.polls = make(map[poll]*discoveryv3.DiscoveryRequest)
	}
	r.polls[key] = kept
}
