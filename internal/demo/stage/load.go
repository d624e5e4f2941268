package stage

import (
	"context"
	"slices"
	"sync"
	"time"
)

// maxInFlight bounds the requests a Load has open at one time.
const maxInFlight = 64

// Load asks one Envoy at a steady rate, whether or not it answers in time, and
// keeps every answer. Stop ends it.
type Load struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	answers []Answer
	skipped int
	changed chan struct{} // closed and replaced at each answer
}

// StartLoad sends rate requests a second through c until Stop is called or ctx
// ends. The caller bounds ctx.
func StartLoad(ctx context.Context, c *Client, rate int) *Load {
	ctx, cancel := context.WithCancel(ctx)
	l := &Load{cancel: cancel, done: make(chan struct{}), changed: make(chan struct{})}
	go l.run(ctx, c, time.Second/time.Duration(rate))
	return l
}

func (l *Load) run(ctx context.Context, c *Client, every time.Duration) {
	defer close(l.done)
	var wg sync.WaitGroup
	defer wg.Wait()
	free := make(chan struct{}, maxInFlight)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		select {
		case free <- struct{}{}:
		default:
			l.skip()
			continue
		}
		wg.Go(func() {
			defer func() { <-free }()
			// A request that is in flight when the load ends is waited for, not cut off.
			l.keep(c.Get(context.WithoutCancel(ctx)))
		})
	}
}

func (l *Load) keep(a Answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answers = append(l.answers, a)
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *Load) skip() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.skipped++
}

// Stop ends the load, waits for the requests in flight, and returns every answer
// in the order the requests were sent.
func (l *Load) Stop() Answers {
	l.cancel()
	<-l.done
	return l.Answers()
}

// Answers returns the answers so far, in the order the requests were sent.
func (l *Load) Answers() Answers {
	l.mu.Lock()
	defer l.mu.Unlock()
	answers := slices.Clone(l.answers)
	slices.SortFunc(answers, func(a, b Answer) int { return a.Sent.Compare(b.Sent) })
	return answers
}

// Skipped counts the requests that were due but not sent because too many others
// were unanswered: a measurement with many of them says little.
func (l *Load) Skipped() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.skipped
}

// First waits for an answer that match accepts, the ones that are there already
// included, and returns it.
func (l *Load) First(ctx context.Context, match func(Answer) bool) (Answer, error) {
	for next := 0; ; {
		l.mu.Lock()
		fresh, changed := l.answers[next:], l.changed
		l.mu.Unlock()
		if i := slices.IndexFunc(fresh, match); i >= 0 {
			return fresh[i], nil
		}
		next += len(fresh)
		select {
		case <-ctx.Done():
			return Answer{}, context.Cause(ctx)
		case <-changed:
		}
	}
}

// Answers are those of one Load.
type Answers []Answer

// Failed returns the answers that are not an upstream's 200.
func (as Answers) Failed() Answers {
	return slices.DeleteFunc(slices.Clone(as), func(a Answer) bool { return a.Failure() == nil })
}
