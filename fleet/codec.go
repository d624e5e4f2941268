package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"
)

// MaxMeta is the size limit of metadata in bytes (memberlist.MetaMaxSize). memberlist
// panics above it, so the size is checked here.
const MaxMeta = 512

// FormatVersion is the metadata format that this code writes. Decode rejects every
// other version, and ignores unknown fields within this one.
const FormatVersion = 1

// wire is the encoded metadata: a JSON object with one-letter names, which saves space and
// stays readable in a packet capture. docs/wire.md lists the size of each field. Add a new
// field at the end, before the signature, with a name that does not differ from another
// one only in case: see Member.Unknown.
type wire struct {
	Version  uint64            `json:"v"`
	Role     Role              `json:"r"`
	Started  int64             `json:"t"` // Unix milliseconds
	Revision uint64            `json:"n,omitempty"`
	Service  string            `json:"s,omitempty"`
	Addr     string            `json:"a,omitempty"`
	Weight   uint32            `json:"w,omitempty"` // absent: 1
	Region   string            `json:"g,omitempty"`
	Zone     string            `json:"z,omitempty"`
	Canary   bool              `json:"c,omitempty"`
	Tags     map[string]string `json:"k,omitempty"`
	Health   Health            `json:"h,omitempty"` // absent: healthy
	Probe    ProbeKind         `json:"p,omitempty"` // absent: http
	Path     string            `json:"q,omitempty"` // absent: /healthz
	OnBehalf bool              `json:"o,omitempty"`
	Interval int64             `json:"i,omitempty"` // milliseconds; absent: the EDS server's
	Timeout  int64             `json:"d,omitempty"` // milliseconds; absent: the EDS server's
	Signed   string            `json:"x,omitempty"` // see Sign; always last
}

// maxYear is the last year that RFC 3339, and so a time in JSON, can express.
const maxYear = 9999

// DefaultHealthPath is the path of the health probe of an endpoint that sets none.
const DefaultHealthPath = "/healthz"

// Encode encodes the fields that m itself announces, not those that observers set. It
// returns an error when m is not valid or does not fit into MaxMeta bytes.
func Encode(m Member) ([]byte, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	b, err := m.encode()
	if err == nil && len(b) > MaxMeta {
		err = fmt.Errorf("metadata takes %d bytes, at most %d are allowed", len(b), MaxMeta)
	}
	if err != nil {
		return nil, err
	}
	return b, nil
}

// encode does not limit the length.
func (m Member) encode() ([]byte, error) {
	w := wire{Version: FormatVersion, Role: m.Role, Started: m.Started.UnixMilli(), Revision: m.Revision}
	if m.Role == RoleUpstream {
		e := m.Endpoint
		w.Service, w.Addr, w.Region, w.Zone = m.Service, e.Addr.String(), e.Locality.Region, e.Locality.Zone
		w.Canary, w.Tags, w.OnBehalf = e.Canary, e.Tags, m.Probe.OnBehalf
		w.Weight = omit(e.Weight, DefaultWeight)
		w.Health = omit(e.Health, Healthy)
		w.Probe = omit(m.Probe.Kind, ProbeHTTP)
		w.Path = omit(m.Probe.Path, DefaultHealthPath)
		w.Interval, w.Timeout = m.Probe.Interval.Milliseconds(), m.Probe.Timeout.Milliseconds()
	} else if m.Endpoint.Health == Draining {
		w.Health = Draining
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(w); err != nil {
		return nil, fmt.Errorf("encode metadata: %w", err)
	}
	b := bytes.TrimSuffix(buf.Bytes(), []byte("}\n"))
	if m.Unknown != "" {
		b = append(append(b, ','), m.Unknown...)
	}
	if m.Signature != "" {
		b = fmt.Appendf(b, `,"x":%q`, m.Signature)
	}
	return append(b, '}'), nil
}

// Decode decodes metadata from the network. The result is valid if the error is nil. With
// an error it still has the format version, if that could be read.
func Decode(b []byte) (Member, error) {
	if len(b) > MaxMeta {
		return Member{}, fmt.Errorf("metadata takes %d bytes, at most %d are allowed", len(b), MaxMeta)
	}
	if !utf8.Valid(b) { // the JSON decoder would replace bytes, and the result could exceed MaxMeta
		return Member{}, errors.New("metadata is not UTF-8")
	}
	var version struct {
		Version uint64 `json:"v"`
	}
	if err := json.Unmarshal(b, &version); err != nil {
		return Member{}, errors.New("metadata is not a JSON object")
	}
	m := Member{Version: version.Version}
	if m.Version != FormatVersion {
		return m, fmt.Errorf("metadata has format version %d, this server reads %d", m.Version, FormatVersion)
	}
	unknown, err := unknownFields(b)
	if err != nil {
		return m, fmt.Errorf("metadata does not follow format version %d: %w", FormatVersion, err)
	}
	var w wire
	if err := json.Unmarshal(b, &w); err != nil {
		return m, fmt.Errorf("metadata does not follow format version %d: %w", FormatVersion, err)
	}
	m, err = w.member()
	m.Unknown = unknown
	return m, err
}

func (w wire) member() (Member, error) {
	m := Member{Version: w.Version, Role: w.Role, Started: time.UnixMilli(w.Started).UTC(), Revision: w.Revision, Signature: w.Signed}
	if m.Role == RoleUpstream {
		addr, err := netip.ParseAddrPort(w.Addr)
		if err != nil {
			return m, fmt.Errorf("address %q is not ip:port", w.Addr)
		}
		if addr.String() != w.Addr {
			return m, fmt.Errorf("address %q is not in canonical form: want %s", w.Addr, addr)
		}
		m.Service = w.Service
		m.Endpoint = Endpoint{
			Addr: addr, Weight: fill(w.Weight, DefaultWeight), Locality: Locality{Region: w.Region, Zone: w.Zone},
			Canary: w.Canary, Health: fill(w.Health, Healthy),
		}
		if len(w.Tags) > 0 {
			m.Endpoint.Tags = w.Tags
		}
		interval, err := checkTime("interval", w.Interval, MinInterval)
		if err != nil {
			return m, err
		}
		timeout, err := checkTime("timeout", w.Timeout, time.Millisecond)
		if err != nil {
			return m, err
		}
		m.Probe = Probe{Kind: fill(w.Probe, ProbeHTTP), OnBehalf: w.OnBehalf, Interval: interval, Timeout: timeout}
		if m.Probe.Kind == ProbeHTTP {
			m.Probe.Path = fill(w.Path, DefaultHealthPath)
		}
	} else {
		m.Endpoint.Health = w.Health
	}
	return m, m.check()
}

// check reports why a member cannot be announced or accepted.
func (m Member) check() error {
	if m.Started.UnixMilli() <= 0 || m.Started.Year() > maxYear {
		return fmt.Errorf("start time is not between 1970 and %d", maxYear)
	}
	if err := checkSignature(m.Signature); err != nil {
		return err
	}
	switch m.Role {
	case RoleEDS:
		if h := m.Endpoint.Health; h != "" && h != Draining {
			return fmt.Errorf("state %q of an EDS server: want draining or none", h)
		}
		return nil
	case RoleUpstream:
	default:
		return fmt.Errorf("role %q: want upstream or eds", m.Role)
	}
	return errors.Join(CheckService(m.Service), m.Endpoint.Check(), m.Probe.check())
}

// The bounds of a check's interval and timeout, where they are set.
const (
	MinInterval = 100 * time.Millisecond
	MaxCheck    = time.Hour
)

// checkTime converts ms to a duration. 0 means not set, and is allowed.
func checkTime(what string, ms int64, least time.Duration) (time.Duration, error) {
	if ms != 0 && (ms < least.Milliseconds() || ms > MaxCheck.Milliseconds()) {
		return 0, fmt.Errorf("%s of the health check is %d ms: want %s to %s", what, ms, least, MaxCheck)
	}
	return time.Duration(ms) * time.Millisecond, nil
}

func (p Probe) check() error {
	if p.Interval%time.Millisecond != 0 || p.Timeout%time.Millisecond != 0 {
		return errors.New("interval and timeout of the health check: want whole milliseconds")
	}
	_, interval := checkTime("interval", p.Interval.Milliseconds(), MinInterval)
	_, timeout := checkTime("timeout", p.Timeout.Milliseconds(), time.Millisecond)
	if err := errors.Join(interval, timeout); err != nil {
		return err
	}
	switch p.Kind {
	case ProbeTCP, ProbeNone:
		return nil
	case ProbeHTTP:
		if !strings.HasPrefix(p.Path, "/") || strings.ContainsFunc(p.Path, func(r rune) bool { return r <= 0x20 || r >= 0x7f }) {
			return fmt.Errorf("health path %q must begin with a slash and contain no spaces", p.Path)
		}
		if _, err := url.ParseRequestURI(p.Path); err != nil {
			return fmt.Errorf("health path %q cannot be requested: %w", p.Path, errors.Unwrap(err))
		}
		return nil
	default:
		return fmt.Errorf("probe %q: want http, tcp or none", p.Kind)
	}
}

// omit returns the zero value for the default, so that the field is left out.
func omit[T comparable](v, def T) T {
	if v == def {
		var zero T
		return zero
	}
	return v
}

func fill[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
