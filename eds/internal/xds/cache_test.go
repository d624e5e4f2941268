package xds

import "testing"

// counted is a watcher with the notifications it got.
func counted(all bool, names ...string) (*watcher, change, func(), *int) {
	w := &watcher{hasCurrent: func(uint64, []item) {}, stale: map[string]struct{}{}, names: listOf(names)}
	n := new(int)
	return w, change{add: names, all: all}, func() { *n++ }, n
}

// announce makes an update and notifies all watchers.
func announce(c *cache, settled bool, changed []*resource, gone []string) {
	_, touched := c.update(settled, changed, gone)
	c.notify(touched)
}

func TestWatchIsNotifiedOnceForManyChanges(t *testing.T) {
	c := newCache()
	w, ask, notify, n := counted(false, "web")
	c.watch(w, ask, notify)
	announce(c, true, []*resource{mustEncode("web", hostA)}, nil)
	announce(c, true, []*resource{mustEncode("web", hostB)}, nil)
	if *n != 1 {
		t.Fatalf("notified %d times, want once", *n)
	}
	if got := c.collect(w, false); len(got.assignments) != 1 || got.version != mustEncode("web", hostB).version() || got.seq != c.seq {
		t.Errorf("collected %+v, want the latest", got)
	}
	announce(c, true, []*resource{mustEncode("web", hostC)}, nil)
	if *n != 1 {
		t.Error("notified with no watch open")
	}
	c.watch(w, change{}, notify)
	if *n != 2 {
		t.Error("not notified of what changed while no watch was open")
	}
}

func TestDeltaChannelHasAtMostOneResponse(t *testing.T) {
	c := newCache()
	w, ask, notify, n := counted(false, "web")
	announce(c, true, nil, nil)
	c.watch(w, ask, notify) // queues a response
	for range 5 {
		c.watch(w, change{add: []string{"web"}}, notify)
	}
	if *n != 1 {
		t.Errorf("notified %d times before anything was collected, want once", *n)
	}
}

func TestStateOfTheWorldChannelIsNewWithEachWatch(t *testing.T) {
	c := newCache()
	w, ask, notify, n := counted(false, "web")
	announce(c, true, nil, nil)
	c.watch(w, ask, notify)
	c.watch(w, change{fresh: true}, notify)
	if *n != 2 {
		t.Errorf("notified %d times, want again: the first response went with its channel", *n)
	}
}

func TestCancelClosesItsOwnWatchOnly(t *testing.T) {
	c := newCache()
	w, ask, notify, n := counted(false, "web")
	first := c.watch(w, ask, notify)
	first()
	first()
	announce(c, true, []*resource{mustEncode("web", hostA)}, nil)
	if *n != 0 {
		t.Error("notified after the cancel")
	}
	c.watch(w, change{}, notify)
	c.collect(w, false)
	c.watch(w, change{}, notify)
	first()
	announce(c, true, []*resource{mustEncode("web", hostB)}, nil)
	if *n != 2 {
		t.Error("a late cancel closed a later watch")
	}
}

func TestChangeMarksOnlyStreamsThatAsked(t *testing.T) {
	c := newCache()
	web, askWeb, notifyWeb, nWeb := counted(false, "web")
	api, askAPI, notifyAPI, nAPI := counted(false, "api")
	all, askAll, notifyAll, nAll := counted(true)
	c.watch(web, askWeb, notifyWeb)
	c.watch(api, askAPI, notifyAPI)
	c.watch(all, askAll, notifyAll)
	announce(c, true, nil, nil)
	for _, w := range []*watcher{web, api, all} {
		c.collect(w, false)
	}
	c.watch(web, change{}, notifyWeb)
	c.watch(api, change{}, notifyAPI)
	c.watch(all, change{all: true}, notifyAll)
	announce(c, true, []*resource{mustEncode("web", hostA)}, nil)
	if *nWeb != 2 || *nAPI != 1 || *nAll != 1 { // at the settling, web and api had something to collect, all had not
		t.Errorf("notified: web %d, api %d, all %d", *nWeb, *nAPI, *nAll)
	}
}

func TestSequenceCountsOnlyWhatChanged(t *testing.T) {
	c := newCache()
	before := c.seq
	announce(c, true, []*resource{mustEncode("web", hostA), mustEncode("api", hostA)}, nil)
	announce(c, true, []*resource{mustEncode("web", hostA)}, nil)
	announce(c, true, []*resource{mustEncode("nobody")}, nil)
	if c.seq != before+1 {
		t.Errorf("the sequence went from %d to %d, want one step", before, c.seq)
	}
	announce(c, true, nil, []string{"web", "nobody"})
	if c.seq != before+2 {
		t.Errorf("the sequence is %d after a service went, want %d", c.seq, before+2)
	}
	if len(c.entries) != 1 {
		t.Errorf("%d names are kept, want the one that is served", len(c.entries))
	}
}
