package api

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// patch is a merge patch (RFC 7396) of the override of a host: what is not in it
// stays, null takes it back.
type patch map[string]jsontext.Value

func decodePatch(body []byte) (patch, error) {
	var p patch
	if err := json.Unmarshal(body, &p); err != nil {
		return nil, explain(err)
	}
	if p == nil {
		return nil, errors.New("the body is not an object")
	}
	return p, nil
}

// apply returns what becomes of was at now, which has the monotonic clock's reading, too:
// with Revoked where nothing is left of it. The error names the field, or is
// override.ErrUnchanged.
func (p patch) apply(was override.Override, now time.Time) (override.Override, error) {
	o := was
	if o.Since = moment(now); !p.ends() {
		o = o.Keep(was, now)
	}
	for _, name := range slices.Sorted(maps.Keys(p)) {
		if err := p.set(&o, name, now); err != nil {
			return was, err
		}
	}
	if o.State == "" && o.Weight == 0 && len(o.Tags) == 0 && (p.decides() || was.State != "" || was.Weight != 0 || len(was.Tags) > 0) {
		return p.revoke(o)
	}
	if !was.Stamp.IsZero() && o.State == was.State && o.Weight == was.Weight && maps.Equal(o.Tags, was.Tags) && o.Reason == was.Reason && (!p.ends() || o.Until.Equal(was.Until)) {
		return was, override.ErrUnchanged
	}
	return o, o.Check()
}

// revoke is the end of o, for the reason that p gives: that of o was for what ends.
func (p patch) revoke(o override.Override) (override.Override, error) {
	end := override.Override{Key: o.Key, Actor: o.Actor, Revoked: true}
	if p["reason"] != nil {
		end.Reason = o.Reason
	}
	return end, end.Check()
}

// decides reports whether p says anything about how the host is served.
func (p patch) decides() bool {
	return p["state"] != nil || p["load_balancing_weight"] != nil || p["tags"] != nil
}

// ends reports whether p says when the override ends.
func (p patch) ends() bool { return p["expires_in"] != nil }

func (p patch) set(o *override.Override, name string, now time.Time) (err error) {
	v := p[name]
	switch name {
	case "state":
		if err := field(v, name, "a string", (*string)(&o.State)); err != nil {
			return err
		}
		if !isNull(v) && o.State == "" {
			return errors.New("state is empty: want drain, exclude, force, or null to revoke it")
		}
	case "load_balancing_weight":
		var w int64
		if err := field(v, name, "a whole number", &w); err != nil {
			return err
		}
		if !isNull(v) && (w < 1 || w > fleet.MaxWeight) {
			return fmt.Errorf("%s is %d: want 1 to %d", name, w, fleet.MaxWeight)
		}
		o.Weight = uint32(w)
	case "tags":
		o.Tags, err = patchTags(o.Tags, v)
		return err
	case "reason":
		return field(v, name, "a string", &o.Reason)
	case "expires_in":
		var text string
		if err := field(v, name, "a string", &text); err != nil {
			return err
		}
		o.Until, o.For = time.Time{}, 0
		if isNull(v) {
			return nil
		}
		d, err := parseDuration(text)
		if err != nil {
			return fmt.Errorf("%s %w", name, err)
		}
		o.Until, o.For = moment(now).Add(d), d
	default:
		return fmt.Errorf("%.100s is not a field that can be set", name)
	}
	return nil
}

// patchTags changes tags, of which canary is true or false and the others strings.
func patchTags(was map[string]string, v jsontext.Value) (map[string]string, error) {
	var changes map[string]jsontext.Value
	if err := field(v, "tags", "an object", &changes); err != nil || isNull(v) {
		return nil, err
	}
	tags := maps.Clone(was)
	if tags == nil {
		tags = make(map[string]string)
	}
	for _, name := range slices.Sorted(maps.Keys(changes)) {
		v, path := changes[name], "tags."+name
		switch {
		case isNull(v):
			delete(tags, name)
		case name == "canary":
			var canary bool
			if err := field(v, path, "true or false", &canary); err != nil {
				return nil, err
			}
			tags[name] = strconv.FormatBool(canary)
		case name == "load_balancing_weight":
			return nil, fmt.Errorf("%s is a field of its own, not a tag", path)
		default:
			var text string
			if err := field(v, path, "a string", &text); err != nil {
				return nil, err
			}
			tags[name] = text
		}
	}
	return tags, nil
}

// field decodes v, of which null is the zero value.
func field[T any](v jsontext.Value, name, want string, into *T) error {
	*into = *new(T)
	if isNull(v) {
		return nil
	}
	if err := json.Unmarshal(v, into); err != nil {
		return fmt.Errorf("%s is not %s", name, want)
	}
	return nil
}

func isNull(v jsontext.Value) bool { return bytes.Equal(bytes.TrimSpace(v), []byte("null")) }
