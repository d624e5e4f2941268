package api

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// maxBody bounds a request body, in bytes.
const maxBody = 1 << 20

// hostList is the body of POST and PUT.
type hostList struct {
	Hosts *hostEntries `json:"hosts"`
}

// hostEntries are no more than one over the most that a list may have, enough to be
// refused: an entry takes 3 bytes of a body and many times that in memory.
type hostEntries []hostEntry

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (l *hostEntries) UnmarshalJSONFrom(d *jsontext.Decoder) error {
	if d.PeekKind() != '[' {
		return &json.SemanticError{JSONPointer: d.StackPointer(), GoType: reflect.TypeFor[hostEntries]()}
	}
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	*l = hostEntries{}
	for d.PeekKind() != ']' {
		if len(*l) > override.MaxHosts {
			if err := d.SkipValue(); err != nil {
				return err
			}
			continue
		}
		var h hostEntry
		if err := json.UnmarshalDecode(d, &h); err != nil {
			return err
		}
		*l = append(*l, h)
	}
	_, err := d.ReadToken()
	return err
}

// hostEntry is a host in a request. Pointers show what is missing
// from what is zero.
type hostEntry struct {
	IPAddress *string `json:"ip_address"`
	Port      *int64  `json:"port"`
	Tags      tags    `json:"tags"`
	Probe     bool    `json:"probe"`
}

// tags describe an endpoint, alike in requests and in answers.
type tags struct {
	AZ      string            `json:"az"`
	Region  string            `json:"region,omitempty"`
	Canary  bool              `json:"canary"`
	Weight  *int64            `json:"load_balancing_weight"` // absent: 1
	Further map[string]string `json:",inline"`               // every other name
}

func tagsOf(e fleet.Endpoint) tags {
	return tags{
		AZ: e.Locality.Zone, Region: e.Locality.Region, Canary: e.Canary,
		Weight: new(int64(e.Weight)), Further: e.Tags,
	}
}

// readBody returns the JSON document in r, which has one of the media types.
func readBody(w http.ResponseWriter, r *http.Request, types ...string) ([]byte, error) {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || !slices.Contains(types, media) {
		return nil, problemf(http.StatusUnsupportedMediaType, "content type is %q: want %s", r.Header.Get("Content-Type"), strings.Join(types, " or "))
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, big := errors.AsType[*http.MaxBytesError](err); err != nil && !big {
		return nil, problemf(http.StatusBadRequest, "the body ended early: %v", err)
	}
	return body, err
}

// decodeHosts reads a host list. What it returns without an error passes
// override.Check as a list of any service.
func decodeHosts(body []byte) ([]override.Host, error) {
	var list hostList
	if err := json.Unmarshal(body, &list, json.RejectUnknownMembers(true)); err != nil {
		return nil, explain(err)
	}
	if list.Hosts == nil {
		return nil, errors.New("hosts is missing")
	}
	hosts := make([]override.Host, 0, len(*list.Hosts))
	for i, h := range *list.Hosts {
		e, err := h.endpoint()
		if err != nil {
			return nil, fmt.Errorf("hosts[%d].%w", i, err)
		}
		hosts = append(hosts, override.Host{Endpoint: e, Probe: h.Probe})
	}
	if err := (override.Override{Key: override.Key{Service: "any"}, Mode: override.Pin, Hosts: hosts}).Check(); err != nil {
		return nil, err
	}
	return hosts, nil
}

// endpoint checks what the types of fleet cannot hold; override.Check does the rest.
func (h hostEntry) endpoint() (fleet.Endpoint, error) {
	e := fleet.Endpoint{
		Locality: fleet.Locality{Region: h.Tags.Region, Zone: h.Tags.AZ},
		Canary:   h.Tags.Canary, Weight: fleet.DefaultWeight, Health: fleet.Healthy,
	}
	switch {
	case h.IPAddress == nil:
		return e, errors.New("ip_address is missing")
	case h.Port == nil:
		return e, errors.New("port is missing")
	case *h.Port < 1 || *h.Port > 65535:
		return e, fmt.Errorf("port is %d: want 1 to 65535", *h.Port)
	}
	ip, err := netip.ParseAddr(*h.IPAddress)
	if err != nil {
		return e, fmt.Errorf("ip_address is %q: want an IP address, host names are not resolved", *h.IPAddress)
	}
	e.Addr = netip.AddrPortFrom(ip, uint16(*h.Port))
	if err := fleet.CheckAddr(e.Addr); err != nil {
		return e, fmt.Errorf("ip_address: %w", err)
	}
	if w := h.Tags.Weight; w != nil {
		if *w < 1 || *w > fleet.MaxWeight {
			return e, fmt.Errorf("tags.load_balancing_weight is %d: want 1 to %d", *w, fleet.MaxWeight)
		}
		e.Weight = uint32(*w)
	}
	if len(h.Tags.Further) > 0 {
		e.Tags = h.Tags.Further
	}
	return e, nil
}

// explain turns a decoder's error into a sentence that names the field.
func explain(err error) error {
	if sem, ok := errors.AsType[*json.SemanticError](err); ok {
		field := fieldName(sem.JSONPointer)
		if errors.Is(err, json.ErrUnknownName) {
			return fmt.Errorf("%s is not a field that can be set", field)
		}
		return fmt.Errorf("%s is not %s", field, kindName(sem.GoType))
	}
	if syn, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		if errors.Is(err, jsontext.ErrDuplicateName) {
			return fmt.Errorf("%s is given twice", fieldName(syn.JSONPointer))
		}
		return fmt.Errorf("the body is not JSON: %w, at byte %d", syn.Err, syn.ByteOffset)
	}
	return fmt.Errorf("the body is not one JSON object: %w", err)
}

// fieldName writes a JSON pointer the way people name fields: hosts[1].port.
func fieldName(p jsontext.Pointer) string {
	var b strings.Builder
	for token := range p.Tokens() {
		switch {
		case token != "" && strings.Trim(token, "0123456789") == "":
			fmt.Fprintf(&b, "[%s]", token)
		case b.Len() > 0:
			b.WriteString("." + token)
		default:
			b.WriteString(token)
		}
	}
	if b.Len() == 0 {
		return "the body"
	}
	return b.String()
}

func kindName(t reflect.Type) string {
	if t == nil {
		return "what belongs there"
	}
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int64:
		return "a whole number"
	case reflect.Slice:
		return "a list"
	default:
		return "an object"
	}
}
