package api

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
)

// automatic is the tag of a host or a service without overrides.
const automatic = "auto"

// condition is an If-Match header (RFC 9110, section 13.1.1). Nil lets all pass.
type condition struct {
	any  bool // *
	tags []string
}

func readCondition(r *http.Request) (*condition, error) {
	lines := r.Header.Values("If-Match")
	if len(lines) == 0 {
		return nil, nil
	}
	c := &condition{}
	rest := strings.TrimSpace(strings.Join(lines, ","))
	if rest == "*" {
		c.any = true
		return c, nil
	}
	for more := true; more; {
		rest = strings.TrimSpace(rest)
		weak := strings.HasPrefix(rest, "W/")
		tag, after, ok := strings.Cut(strings.TrimPrefix(strings.TrimPrefix(rest, "W/"), `"`), `"`)
		if !ok || !strings.HasPrefix(strings.TrimPrefix(rest, "W/"), `"`) {
			return nil, problemf(http.StatusBadRequest, `If-Match is %.100q: want "*" or the value of ETag, in its quotes`, strings.Join(lines, ","))
		}
		if !weak { // a weak one never matches
			c.tags = append(c.tags, tag)
		}
		after = strings.TrimSpace(after)
		rest, more = strings.CutPrefix(after, ",")
		if !more && after != "" {
			return nil, problemf(http.StatusBadRequest, "If-Match has unexpected %.100q after a tag", after)
		}
	}
	return c, nil
}

// allows judges the present tag of what is asked for; known says that there is
// something.
func (c *condition) allows(tag string, known bool) bool {
	return c == nil || (c.any && known) || slices.Contains(c.tags, tag)
}

// ofService compares with all overrides of a service. known says that the service
// exists.
func (c *condition) ofService(known bool) func(service, overrideTag string) bool {
	return func(service, _ string) bool { return c.allows(cmp.Or(service, automatic), known) }
}

// ofOverride compares with one override. known says that the host exists without one.
func (c *condition) ofOverride(known bool) func(service, overrideTag string) bool {
	return func(_, overrideTag string) bool {
		if overrideTag == "" {
			return c.allows(automatic, known)
		}
		return c.allows(overrideTag, true)
	}
}

// setTag sets the ETag, "" for no override.
func setTag(w http.ResponseWriter, tag string) {
	w.Header().Set("ETag", `"`+cmp.Or(tag, automatic)+`"`)
}
