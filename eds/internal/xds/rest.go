package xds

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	statusv1 "google.golang.org/genproto/googleapis/rpc/status"

	"github.com/rollcall-fleet/rollcall/eds/internal/problem"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// The bounds of a poll. Envoy asks for one name.
const (
	maxBody          = 1 << 20 // bytes
	maxPollNames     = 100
	maxPollNameBytes = 32 << 10 // of all of them
	bodyWait         = 5 * time.Second
)

// flavor is a version of the REST API.
type flavor struct{ transport, typeURL string }

var (
	flavorV3 = flavor{TransportREST, typeV3}
	flavorV2 = flavor{TransportRESTv2, typeV2}
)

// ServeRESTv3 answers POST /v3/discovery:endpoints: a DiscoveryRequest as JSON,
// with 200 and the services that it names; with 304 when its version_info is the current
// one and stays so for as long as the poll may be held; with 503 until the pool has
// settled; else with an error.
func (s *Server) ServeRESTv3(w http.ResponseWriter, r *http.Request) { s.serveREST(w, r, flavorV3) }

// ServeRESTv2 answers POST /v2/discovery:endpoints, the same with the type URL of
// the v2 API.
func (s *Server) ServeRESTv2(w http.ResponseWriter, r *http.Request) { s.serveREST(w, r, flavorV2) }

func (s *Server) serveREST(w http.ResponseWriter, r *http.Request, f flavor) {
	req, status, err := s.readPoll(w, r, f.typeURL)
	if err != nil {
		refuse(w, status, err)
		return
	}
	id, err := s.named(r.TLS)
	if err != nil {
		refuse(w, http.StatusUnauthorized, err)
		return
	}
	if err := s.allowed(cmp.Or(id, req.GetNode().GetId()), req.GetResourceNames(), false); err != nil {
		refuse(w, http.StatusForbidden, err)
		return
	}
	c, ok := s.clients.poll(f.poller(req, r.RemoteAddr), r.RemoteAddr, time.Now())
	if !ok {
		s.opts.Refused(refusedClient)
		refuse(w, http.StatusServiceUnavailable, errTooMany)
		return
	}
	version := req.GetVersionInfo()
	current, settled := s.polled(r.Context(), c, req, holdTime(r.Header))
	switch {
	case !settled:
		refuse(w, http.StatusServiceUnavailable, errNotSettled)
	case version == current.version:
		w.WriteHeader(http.StatusNotModified)
	default:
		writeJSON(w, func() ([][]byte, error) { return current.restResponse(f.typeURL) })
	}
}

// polled notes and logs a poll, and returns the answer and whether it may be sent. A poll
// that finds nothing new is held for at most hold. req is not kept meanwhile: an Envoy's
// describes the whole Envoy, in 77 KB of JSON.
func (s *Server) polled(ctx context.Context, c *client, req *discoveryv3.DiscoveryRequest, hold time.Duration) (current push, settled bool) {
	names, version := req.GetResourceNames(), req.GetVersionInfo()
	c.acks.subscribe(names)
	current, settled = s.answer(c, names, version)
	s.heard(c, req, current)
	if settled && version == current.version && s.hold(ctx, c, names, version, hold) {
		current, settled = s.answer(c, names, version)
	}
	return current, settled
}

// answer returns the current answer to a poll for names. It notes that the client has
// version, and what it is about to receive.
func (s *Server) answer(c *client, names []string, version string) (current push, settled bool) {
	claim := version
	if c.acks.knows(version) {
		claim = ""
	}
	current, settled = s.cache.lookup(names, claim)
	if !settled {
		return current, false
	}
	if c.acks.reported(version, current.as("")) {
		s.move() // leaving endpoints do not wait for polls: no lookSoon
	}
	if version != "" && version != current.version { // the client has something older
		now := time.Now()
		current.choose(func(r *resource) *assignment { return r.missed(c.acks.since(r.name), now) })
	}
	c.acks.answered(version, current.as(""))
	return current, true
}

// heard notes and logs a poll that current is the answer to.
func (s *Server) heard(c *client, req *discoveryv3.DiscoveryRequest, current push) {
	r := request{node: req.GetNode().GetId(), names: req.GetResourceNames(), version: req.GetVersionInfo(), verdict: verdictPoll}
	if e := req.GetErrorDetail(); e != nil {
		r.verdict, r.reason = verdictNACK, e.GetMessage()
		c.acks.refuse(current.version, r.reason, time.Now())
	}
	s.logRequest(s.clients.heard(c, r, time.Now()))
}

// poller returns which REST client sent a request.
func (f flavor) poller(req *discoveryv3.DiscoveryRequest, address string) poller {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	names := strings.Join(req.GetResourceNames(), "\xff") // in no UTF-8 string
	return poller{
		transport: f.transport, node: clip(req.GetNode().GetId(), maxNode), host: strings.Clone(host),
		names: sha256.Sum256([]byte(names)), size: len(names),
	}
}

// readPoll reads a poll, once there is room for its body. With an error it returns the
// status of the answer.
func (s *Server) readPoll(w http.ResponseWriter, r *http.Request, typeURL string) (req *discoveryv3.DiscoveryRequest, status int, err error) {
	if ct := r.Header.Get("Content-Type"); ct != "" && ct != "application/json" {
		if mediaType, _, err := mime.ParseMediaType(ct); err != nil || mediaType != "application/json" {
			return nil, http.StatusUnsupportedMediaType, fmt.Errorf("content type is %q: want application/json", shorten(ct, maxNode))
		}
	}
	size, party := r.ContentLength, fleet.PartyOf(r.RemoteAddr)
	if size < 0 || size > maxBody {
		size = maxBody
	}
	if err := s.room.Take(r.Context(), party, size); err != nil {
		s.opts.Refused(refusedBytes)
		return nil, http.StatusServiceUnavailable, fmt.Errorf("read the body: %w", err)
	}
	defer s.room.Give(party, size)
	body, status, err := readBody(w, r)
	if err != nil {
		return nil, status, err
	}
	req, err = s.repeats.decode(body, typeURL)
	return req, http.StatusBadRequest, err
}

func readBody(w http.ResponseWriter, r *http.Request) (body []byte, status int, err error) {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(bodyWait)) // fails in tests without a connection
	body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	_ = control.SetReadDeadline(time.Time{}) // or a poll that is held would end with it
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, http.StatusRequestEntityTooLarge, fmt.Errorf("the body is larger than %d bytes", maxBody)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, http.StatusRequestTimeout, fmt.Errorf("reading the body took longer than %s", bodyWait)
	case err != nil:
		return nil, http.StatusBadRequest, fmt.Errorf("read the body: %w", err)
	}
	return body, 0, nil
}

// pollRequest is what is read of a DiscoveryRequest as JSON, with fields in either of
// their spellings (ProtoJSON). All else is skipped: an Envoy's node has 500 extensions,
// and a tree of them takes many times the bytes of the body.
type pollRequest struct {
	Version  string    `json:"version_info"`
	Version2 string    `json:"versionInfo"`
	Node     pollNode  `json:"node"`
	Names    pollNames `json:"resource_names"`
	Names2   pollNames `json:"resourceNames"`
	TypeURL  string    `json:"type_url"`
	TypeURL2 string    `json:"typeUrl"`
	Refusal  *pollNACK `json:"error_detail"`
	Refusal2 *pollNACK `json:"errorDetail"`
}

// maxPollRepeats is how many names are read, with repeats.
const maxPollRepeats = 10 * maxPollNames

// pollNames are read one by one: a name takes 3 bytes of a body and many times that in
// memory.
type pollNames []string

// UnmarshalJSON implements json.Unmarshaler.
func (n *pollNames) UnmarshalJSON(b []byte) error {
	*n = nil
	d := json.NewDecoder(bytes.NewReader(b))
	switch first, err := d.Token(); {
	case err != nil:
		return err
	case first == nil: // null
		return nil
	case first != json.Delim('['):
		return errors.New("resource_names is not a list")
	}
	for d.More() {
		if len(*n) == maxPollRepeats {
			return checkCount(maxPollRepeats+1, maxPollNames)
		}
		var name string
		if err := d.Decode(&name); err != nil {
			return err
		}
		*n = append(*n, name)
	}
	return nil
}

type pollNode struct {
	ID string `json:"id"`
}

type pollNACK struct {
	Message string `json:"message"`
}

// decodePoll reads a DiscoveryRequest, from an Envoy of any version: unknown
// fields, new or obsolete, are ignored. Its names are sorted and
// without repeats, at least one.
func decodePoll(body []byte, typeURL string) (*discoveryv3.DiscoveryRequest, error) {
	var read pollRequest
	err := json.Unmarshal(body, &read)
	if err == nil && !utf8.Valid(body) {
		err = errNotUTF8
	}
	if err != nil {
		return nil, fmt.Errorf("the body is not a DiscoveryRequest as JSON: %w", err)
	}
	if got := cmp.Or(read.TypeURL, read.TypeURL2); got != "" && got != typeURL {
		return nil, fmt.Errorf("type_url is %q: want %s", shorten(got, maxNode), typeURL)
	}
	req := &discoveryv3.DiscoveryRequest{
		VersionInfo: clip(cmp.Or(read.Version, read.Version2), maxVersion), TypeUrl: typeURL,
		Node: &corev3.Node{Id: clip(read.Node.ID, maxNameLen)}, ResourceNames: slices.Concat([]string(read.Names), []string(read.Names2)),
	}
	if e := cmp.Or(read.Refusal, read.Refusal2); e != nil {
		req.ErrorDetail = &statusv1.Status{Message: clip(e.Message, maxDetail)}
	}
	if len(req.GetResourceNames()) == 0 {
		return nil, errors.New("resource_names is empty: list the services to return")
	}
	if slices.Contains(req.GetResourceNames(), wildcardName) {
		return nil, errors.New(`resource_names has the wildcard "*": over REST, list the services to return`)
	}
	slices.Sort(req.ResourceNames)
	req.ResourceNames = slices.Compact(req.ResourceNames)
	return req, errors.Join(checkNode(req.GetNode().GetId()), checkCount(len(req.ResourceNames), maxPollNames), checkSize(bytesOf(slices.Values(req.ResourceNames)), maxPollNameBytes), checkNames(req.ResourceNames))
}

// restResponse is a DiscoveryResponse as JSON, in pieces around the shared
// assignments.
func (p push) restResponse(typeURL string) (pieces [][]byte, err error) {
	version, err := json.Marshal(p.version)
	if err != nil {
		return nil, err
	}
	next := fmt.Appendf(nil, `{"version_info":%s,"type_url":%q,"resources":[`, version, typeURL)
	for i, a := range p.assignments {
		j, err := a.json()
		if err != nil {
			return nil, err
		}
		if i > 0 {
			next = append(next, ',')
		}
		pieces = append(pieces, fmt.Appendf(next, `{"@type":%q,`, typeURL), j[1:]) // never "{}": cluster_name is not empty
		next = nil
	}
	return append(pieces, append(next, "]}\n"...)), nil
}

var errTooMany = errors.New("too many REST clients, in total or from this address: poll with one node id, or use gRPC")

var errNotSettled = errors.New("gossip has not settled, so the list of endpoints may be incomplete: ask again in a moment")

// writeJSON answers 200 with what encode returns, piece by piece.
func writeJSON(w http.ResponseWriter, encode func() ([][]byte, error)) {
	pieces, err := encode()
	if err != nil {
		refuse(w, http.StatusInternalServerError, err)
		return
	}
	size := 0
	for _, b := range pieces {
		size += len(b)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(size))
	for _, b := range pieces {
		if _, err := w.Write(b); err != nil { // the client has disconnected
			return
		}
	}
}

// refuse answers with a problem document.
func refuse(w http.ResponseWriter, status int, err error) {
	problem.Errorf(status, "%v", err).Write(w)
}
