package probe

import (
	"container/heap"
	"time"
)

// agenda has the watchers in the order in which they are due.
type agenda []*watcher

// put adds w, or moves it.
func (a *agenda) put(w *watcher, due time.Time) {
	w.due = due
	if w.index < 0 {
		heap.Push(a, w)
	} else {
		heap.Fix(a, w.index)
	}
}

func (a *agenda) remove(w *watcher) { heap.Remove(a, w.index) }

// Len and the methods below are heap.Interface's.
func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return a[i].due.Before(a[j].due) }

func (a agenda) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].index, a[j].index = i, j
}

func (a *agenda) Push(x any) {
	w := x.(*watcher)
	w.index = len(*a)
	*a = append(*a, w)
}

func (a *agenda) Pop() any {
	last := len(*a) - 1
	w := (*a)[last]
	(*a)[last], *a = nil, (*a)[:last]
	w.index = -1
	return w
}
