package api

import (
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/rollcall-fleet/rollcall/eds/internal/override"
)

// The bounds of a page of the audit. Lists can be long, so that bytes count too.
const (
	defaultAudit = 100 // entries
	maxAudit     = 1000
	auditChunk   = 10      // entries read at a time
	auditBytes   = 4 << 20 // after which the page ends
)

type entryView struct {
	ID       string          `json:"id"`
	At       time.Time       `json:"at"`
	Action   override.Action `json:"action"`
	Key      string          `json:"key,omitempty"` // the fingerprint of the key that it is about
	Override overrideView    `json:"override"`
	Before   *overrideView   `json:"before,omitempty"`
}

func viewEntry(e override.Entry) entryView {
	v := entryView{ID: e.ID, At: e.At, Action: e.Action, Key: e.Key, Override: viewOverride(e.Override)}
	if e.Before != nil {
		v.Before = new(viewOverride(*e.Before))
	}
	return v
}

func (a *api) listAudit(w http.ResponseWriter, r *http.Request) error {
	query, err := readQuery(r, "since", "limit", "before")
	if err != nil {
		return err
	}
	since, err := readSince(query.Get("since"), time.Now())
	if err != nil {
		return err
	}
	limit, before := defaultAudit, query.Get("before")
	if query.Has("limit") {
		if limit, err = strconv.Atoi(query.Get("limit")); err != nil || limit < 1 || limit > maxAudit {
			return problemf(http.StatusBadRequest, "limit is %.60q: want 1 to %d", query.Get("limit"), maxAudit)
		}
	}
	if _, err := override.ParseID(before); before != "" && err != nil {
		return problemf(http.StatusBadRequest, "before: %v", err)
	}
	page, next, err := a.readAudit(since, limit, before)
	if err != nil {
		return err
	}
	answered := map[string]any{"audit": page}
	if next != "" {
		answered["next"] = next
	}
	return answer(w, http.StatusOK, answered)
}

// readAudit returns a page, and where the next one begins; "" at the end.
func (a *api) readAudit(since time.Time, limit int, before string) (page []jsontext.Value, next string, err error) {
	page, size := []jsontext.Value{}, 0
	for {
		entries, err := a.Overrides.Audit(since, auditChunk, before)
		if err != nil {
			return nil, "", err
		}
		for _, e := range entries {
			if len(page) == limit || size > auditBytes {
				return page, before, nil
			}
			b, err := json.Marshal(viewEntry(e), json.Deterministic(true))
			if err != nil {
				return nil, "", err
			}
			page, size, before = append(page, b), size+len(b), e.ID
		}
		if len(entries) < auditChunk {
			return page, "", nil
		}
	}
}

// readSince reads a moment, or how long ago it was.
func readSince(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	d, err := parseDuration(text)
	if err != nil {
		return time.Time{}, problemf(http.StatusBadRequest, "since is %.60q: want a time such as 2026-01-02T15:04:05Z or an age such as 24h", text)
	}
	return now.Add(-d), nil
}
