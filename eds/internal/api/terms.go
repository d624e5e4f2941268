package api

import (
	"cmp"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
	"github.com/rollcall-fleet/rollcall/fleet"
)

// terms are who sets an override, why, and until when.
type terms struct {
	actor  string
	reason string
	until  time.Time     // zero for never
	last   time.Duration // how long, if that was said
}

// readTerms reads the actor, and what the query says. What is not in allowed
// is refused: a misspelt expires_in would make an override for good.
func readTerms(r *http.Request, now time.Time, allowed ...string) (terms, error) {
	query, err := readQuery(r, allowed...)
	if err != nil {
		return terms{}, err
	}
	t := terms{reason: query.Get("reason")}
	if t.actor, err = actor(r); err != nil {
		return terms{}, err
	}
	t.until, t.last, err = readEnd(query, now)
	return t, err
}

// readEnd reads when an override ends: in a while, or at a moment, such as an answer
// returned as until.
func readEnd(query url.Values, now time.Time) (time.Time, time.Duration, error) {
	switch {
	case query.Has("until") && query.Has("expires_in"):
		return time.Time{}, 0, problemf(http.StatusBadRequest, "until and expires_in are both set: want one")
	case query.Has("until"):
		t, err := time.Parse(time.RFC3339, query.Get("until"))
		if err != nil {
			return time.Time{}, 0, problemf(http.StatusBadRequest, "until is %.60q: want a time such as 2026-01-02T15:04:05Z", query.Get("until"))
		}
		if t = t.UTC().Truncate(time.Millisecond); !t.After(now) || t.After(now.Add(override.MaxFor)) {
			return time.Time{}, 0, problemf(http.StatusBadRequest, "until is %.60q: want a time in the future, at most %dd away", query.Get("until"), override.MaxFor/(24*time.Hour))
		}
		return t, 0, nil
	case query.Has("expires_in"):
		d, err := parseDuration(query.Get("expires_in"))
		if err != nil {
			return time.Time{}, 0, problemf(http.StatusBadRequest, "expires_in %v", err)
		}
		return now.Add(d), d, nil
	default:
		return time.Time{}, 0, nil
	}
}

// actor returns the actor: from the header, else from where the request came.
func actor(r *http.Request) (string, error) {
	name := strings.TrimSpace(r.Header.Get(fleet.ActorHeader))
	if name == "" {
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if err != nil {
			return r.RemoteAddr, nil
		}
		return host, nil
	}
	if err := fleet.CheckText(fleet.ActorHeader, name); err != nil {
		return "", problemf(http.StatusBadRequest, "%v", err)
	}
	return name, nil
}

// readQuery returns the query, of which every name is allowed and there once.
func readQuery(r *http.Request, allowed ...string) (url.Values, error) {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, problemf(http.StatusBadRequest, "query is invalid: %v", err)
	}
	for name, values := range query {
		switch {
		case !slices.Contains(allowed, name):
			return nil, problemf(http.StatusBadRequest, "unknown parameter %.100q: want %s", name, cmp.Or(strings.Join(allowed, ", "), "none"))
		case len(values) > 1:
			return nil, problemf(http.StatusBadRequest, "%s is given twice", name)
		}
	}
	return query, nil
}

var days = regexp.MustCompile(`^([0-9]{1,5})d`)

// parseDuration reads a duration as Go writes them, with days in front: 7d, 1d12h, 1h30m.
func parseDuration(text string) (time.Duration, error) {
	var d time.Duration
	rest := text
	if m := days.FindStringSubmatch(text); m != nil {
		n, _ := strconv.Atoi(m[1]) // the pattern lets nothing else through
		d, rest = time.Duration(n)*24*time.Hour, text[len(m[0]):]
	}
	if rest != "" || text == "" {
		clock, err := time.ParseDuration(rest)
		if err != nil || clock < 0 {
			return 0, fmt.Errorf("is %.60q: want a duration such as 30m, 1h30m or 7d", text)
		}
		d += clock
	}
	if d <= 0 || d > override.MaxFor {
		return 0, fmt.Errorf("is %.60q: want more than 0 and at most %dd", text, override.MaxFor/(24*time.Hour))
	}
	return d, nil
}

// said is an attribute of an override in the log; empty where it is not set.
func said[T comparable](name string, value T) slog.Attr {
	if value == *new(T) {
		return slog.Attr{} // left out by every slog.Handler
	}
	return slog.Any(name, value)
}

// nowUTC is the time of an override, in the precision that is stored.
func nowUTC() time.Time { return moment(time.Now()) }

// moment is t by the wall clock, in the precision that is stored.
func moment(t time.Time) time.Time { return t.UTC().Truncate(time.Millisecond) }
