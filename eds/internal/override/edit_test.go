package override

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
)

var drained = Key{Service: "s", Host: "10.0.0.1:80"}

// decide has an operator drain a host for a while; 0 is for good.
func decide(t *testing.T, s *Store, k Key, last time.Duration) Override {
	t.Helper()
	o, _, err := s.Edit(Edit{Key: k, Actor: "ann", Reason: "why", Change: func(was Override, _ bool) (Override, error) {
		was.State = Drain
		if last != 0 {
			was.Until = s.now().Add(last).UTC()
		}
		return was, nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// story tells the audit, oldest first.
func story(t *testing.T, s *Store) string {
	t.Helper()
	entries, err := s.Audit(time.Time{}, 1000, "")
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, e := range entries {
		line := string(e.Action) + " " + e.Override.Host
		if e.Before != nil {
			line += " after " + e.Before.Stamp.String()[13:21]
		}
		told = append([]string{line}, told...)
	}
	return strings.Join(told, "\n")
}

func TestEditSeesWhatWasAndFillsInTheRest(t *testing.T) {
	s := newStore(t)
	first := decide(t, s, drained, 0)
	if first.ID != drained.ID() || first.Actor != "ann" || first.Reason != "why" || first.Stamp.Server != s.Server() || time.Since(first.Since) > time.Minute {
		t.Errorf("it is kept as %+v", first)
	}
	second, revision, err := s.Edit(Edit{Key: drained, Actor: "bob", Change: func(was Override, exists bool) (Override, error) {
		if !exists || was.State != Drain {
			t.Errorf("what was is %+v, %t", was, exists)
		}
		was.Weight = 5
		return was, nil
	}})
	got, ok := s.Get(drained.ID())
	if err != nil || revision != 2 || !ok || got.Weight != 5 || got.State != Drain || got.Actor != "bob" || got.Tag() != second.Tag() || got.Tag() <= first.Tag() {
		t.Errorf("revision %d, %v: %+v", revision, err, got)
	}
	mine := errors.New("mine")
	if _, _, err := s.Edit(Edit{Key: drained, Change: func(Override, bool) (Override, error) { return Override{}, mine }}); !errors.Is(err, mine) {
		t.Errorf("the error of a change comes back as %v", err)
	}
	if want := "created 10.0.0.1:80\nchanged 10.0.0.1:80 after 00000000"; story(t, s) != want {
		t.Errorf("the audit says\n%s", story(t, s))
	}
}

func TestChangeIsRefusedAfterAConcurrentChange(t *testing.T) {
	s := newStore(t)
	stale := errors.New("stale")
	try := func(want string, ifMatch func(service, override string) bool) {
		t.Helper()
		for what, err := range map[string]error{
			"edit": func() error {
				_, _, err := s.Edit(Edit{Key: drained, IfMatch: ifMatch, Change: func(Override, bool) (Override, error) { return Override{}, stale }})
				return err
			}(),
			"revoke": func() error { _, _, err := s.Revoke(drained, "", "", ifMatch); return err }(),
		} {
			if errors.Is(err, ErrStale) != (want == "stale") {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	none := s.ServiceTag("s")
	try("match", func(service, override string) bool { return service == none && override == "" })
	o := decide(t, s, drained, 0)
	try("stale", func(service, override string) bool { return service == none || override == "" })
	now := s.ServiceTag("s")
	decide(t, s, Key{Service: "other", Host: drained.Host}, 0)
	if now == none || none != "" || s.ServiceTag("s") != now {
		t.Errorf("the tag of the service is %s, then %s", now, s.ServiceTag("s"))
	}
	try("match", func(service, override string) bool { return service == now && override == o.Tag() }) // revokes it
	if s.ServiceTag("s") != none {
		t.Error("without an override the tag is another one than before it")
	}
}

func TestOverrideEndsOnTimeOnceAndAfterARestart(t *testing.T) {
	dir := t.TempDir()
	s, _ := open(t, filepath.Join(dir, "db"))
	again, db := open(t, filepath.Join(dir, "again"))
	synctest.Test(t, func(t *testing.T) {
		s.changed, s.sooner, again.changed, again.sooner = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{}, 1)
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		defer running.Wait()
		defer cancel()
		running.Go(func() { s.Run(ctx) })
		time.Sleep(time.Second)
		decide(t, s, drained, time.Hour)
		decide(t, s, Key{Service: "s", Host: "10.0.0.2:80"}, time.Minute)
		signalled(s)
		in := func() int { list, _ := s.InForce(); return len(list) }
		time.Sleep(time.Minute - time.Millisecond)
		if in() != 2 || signalled(s) {
			t.Error("it ended before its time")
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if in() != 1 || !signalled(s) {
			t.Error("it did not end on time")
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		want := "created 10.0.0.1:80\ncreated 10.0.0.2:80\nexpired 10.0.0.2:80 after 00000001\nexpired 10.0.0.1:80 after 00000000"
		if in() != 0 || story(t, s) != want || s.ServiceTag("s") != "" {
			t.Errorf("%d in force, the audit says\n%s", in(), story(t, s))
		}

		decide(t, again, drained, time.Minute)
		_ = db.Close()
		time.Sleep(time.Hour) // Run is not active when it expires
		for range 2 {
			again, db := open(t, filepath.Join(dir, "again"))
			if err := again.Expire(); err != nil {
				t.Fatal(err)
			}
			if list, _ := again.InForce(); len(list) > 0 || story(t, again) != "created 10.0.0.1:80\nexpired 10.0.0.1:80 after 00000000" {
				t.Errorf("after a restart %+v are in force, the audit says\n%s", list, story(t, again))
			}
			_ = db.Close()
		}
	})
}

// Another server has answered the operator already.
func TestOverrideOfAnotherServerHoldsEvenIfTheDiskFails(t *testing.T) {
	other, _ := open(t, filepath.Join(t.TempDir(), "other"))
	decide(t, other, drained, 0)
	list, _ := other.InForce()
	s, db := open(t, filepath.Join(t.TempDir(), "db"))
	_ = db.Close()
	news, err := s.Merge(list)
	if len(news) != 1 || !errors.Is(err, ErrUnwritten) {
		t.Errorf("%d are news, and it says %v", len(news), err)
	}
	if mine, _ := s.InForce(); len(mine) != 1 || s.Digest() != other.Digest() || !signalled(s) {
		t.Errorf("%+v is in force", mine)
	}
	if _, _, err := s.Edit(Edit{Key: drained, Change: func(o Override, _ bool) (Override, error) { o.Weight = 7; return o, nil }}); err == nil || errors.Is(err, ErrUnwritten) {
		t.Errorf("a change of its own says %v", err)
	}
	if mine, _ := s.InForce(); len(mine) != 1 || mine[0].Weight == 7 {
		t.Errorf("%+v is in force after a change that failed", mine)
	}
}

func TestOverrideEndsOnTimeEvenIfTheDiskFails(t *testing.T) {
	s, db := open(t, filepath.Join(t.TempDir(), "db"))
	clock := &fake{epoch}
	s.now = clock.now
	decide(t, s, drained, time.Minute)
	_ = db.Close()
	clock.at = epoch.Add(time.Minute)
	if err := s.Expire(); err == nil {
		t.Error("nothing is said of the disk")
	}
	if list, _ := s.InForce(); len(list) > 0 {
		t.Errorf("%+v is in force still", list)
	}
}

func TestOvertakenOverrideIsInTheAuditOnce(t *testing.T) {
	s, other := newStore(t), newStore(t)
	lost := decide(t, other, drained, 0)
	time.Sleep(2 * time.Millisecond) // a later stamp
	won := decide(t, s, drained, 0)
	for range 2 {
		if news, err := s.Merge([]Override{lost, lost}); err != nil || len(news) > 0 {
			t.Fatalf("news %+v, %v", news, err)
		}
	}
	if want := "created 10.0.0.1:80\novertaken 10.0.0.1:80 after " + won.Stamp.String()[13:21]; story(t, s) != want {
		t.Errorf("the audit says\n%s", story(t, s))
	}
	if news, err := other.Merge([]Override{won}); err != nil || len(news) != 1 {
		t.Fatalf("news %+v, %v", news, err)
	}
	if _, err := other.Merge([]Override{lost}); err != nil {
		t.Fatal(err)
	}
	if want := "created 10.0.0.1:80\nchanged 10.0.0.1:80 after " + lost.Stamp.String()[13:21]; story(t, other) != want {
		t.Errorf("what it knew already is in its audit:\n%s", story(t, other))
	}
}

func TestOneBadClockDoesNotSpoilTheOthers(t *testing.T) {
	clock, fast := &fake{epoch}, &fake{epoch.Add(maxAhead + time.Second)}
	s, other := newStore(t), newStore(t)
	s.now, other.now = clock.now, fast.now
	bad := decide(t, other, drained, 0)
	good := bad
	good.Key.Host, good.Stamp.Wall = "10.0.0.2:80", epoch.UnixMilli()
	news, err := s.Merge([]Override{bad, good})
	if !errors.Is(err, ErrAhead) || len(news) != 1 || news[0].Host != good.Host {
		t.Fatalf("news %+v, %v", news, err)
	}
	if o := decide(t, s, drained, 0); o.Stamp.Wall != epoch.UnixMilli() {
		t.Errorf("the next stamp is %s", o.Stamp)
	}
	clock.at = epoch.Add(2 * time.Second)
	if _, err := s.Merge([]Override{bad}); err != nil {
		t.Fatal(err)
	}
	if o := decide(t, s, drained, 0); o.Stamp.Compare(bad.Stamp) <= 0 {
		t.Errorf("%s does not overrule %s, which was there", o.Stamp, bad.Stamp)
	}
}

func TestOverridesAreBoundedWhereverTheyComeFrom(t *testing.T) {
	s := newStore(t)
	many := func(host int, revoked bool, n int) []Override {
		var list []Override
		for i := range n {
			o := Override{Key: Key{Service: "s", Host: fmt.Sprintf("10.%d.%d.%d:80", host, i>>8, i&255)}, State: Drain, Revoked: revoked, Since: epoch}
			o.Stamp = Stamp{Wall: time.Now().UnixMilli(), Server: uuid.UUID{1}}
			list = append(list, o)
		}
		return list
	}
	if news, err := s.Merge(many(1, false, DefaultMaxInForce+5)); !errors.Is(err, ErrFull) || len(news) != DefaultMaxInForce || len(err.Error()) > 1000 {
		t.Errorf("%d are taken, %v", len(news), err)
	}
	full := Edit{Key: drained, Change: func(o Override, _ bool) (Override, error) { o.State = Drain; return o, nil }}
	if _, _, err := s.Edit(full); !errors.Is(err, ErrFull) {
		t.Errorf("one too many: %v", err)
	}
	if _, err := s.Merge(many(2, true, 2*DefaultMaxInForce)); err != nil || len(held(s)) > 2*DefaultMaxInForce {
		t.Errorf("%d are kept, %v", len(held(s)), err)
	}
	full.Key.Host = "10.1.0.0:80"
	if _, _, err := s.Edit(full); err != nil {
		t.Errorf("one that is there cannot be changed: %v", err)
	}
}

func TestOldTombstonesAreForgottenAndNotAcceptedAgain(t *testing.T) {
	clock := &fake{epoch}
	s := newStore(t)
	s.now = clock.now
	process := Key{Service: "s", Host: uuid.NewString()}
	old := []Override{decide(t, s, drained, time.Hour), decide(t, s, process, time.Hour)}
	for _, tt := range []struct {
		after time.Duration
		kept  int
	}{{time.Hour, 2}, {keepProcess, 2}, {keepProcess + 2*time.Hour, 1}, {keepEnded, 1}, {keepEnded + 2*time.Hour, 0}} {
		clock.at = epoch.Add(tt.after)
		for range 2 {
			if err := s.Expire(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := s.Merge(old); err != nil {
			t.Fatal(err)
		}
		if n := len(held(s)); n != tt.kept {
			t.Errorf("after %s %d are kept, want %d", tt.after, n, tt.kept)
		}
	}
	if s.Digest() != (Digest{}) {
		t.Error("what was forgotten is in the sums")
	}
}

func TestAuditIsReadInPagesAndKeptForNinetyDays(t *testing.T) {
	clock := &fake{epoch}
	path := filepath.Join(t.TempDir(), "db")
	s, db := open(t, path)
	s.now = clock.now
	for range 5 {
		clock.at = clock.at.Add(24 * time.Hour)
		decide(t, s, drained, 0)
	}
	var days []string
	for before := ""; ; {
		page, err := s.Audit(epoch.Add(48*time.Hour), 2, before)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, e := range page {
			days = append(days, e.At.Sub(epoch).String())
		}
		before = page[len(page)-1].ID
	}
	if got := strings.Join(days, " "); got != "120h0m0s 96h0m0s 72h0m0s 48h0m0s" {
		t.Errorf("the pages hold %s", got)
	}
	if _, err := s.Audit(epoch, 1, "x"); err == nil {
		t.Error("a bad id is taken")
	}
	_ = db.Close()
	s, _ = open(t, path) // it goes on where it was
	clock.at = epoch.Add(keepAudit + 80*time.Hour)
	s.now = clock.now
	decide(t, s, drained, 0)
	if page, err := s.Audit(time.Time{}, 10, ""); err != nil || len(page) != 3 {
		t.Errorf("%d entries are left, %v", len(page), err)
	}
	if s.keptAudit.bytes <= 0 || s.keptAudit.bytes > 3000 {
		t.Errorf("they are said to take %d bytes", s.keptAudit.bytes)
	}
}
