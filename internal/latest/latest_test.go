package latest

import "testing"

func TestOnlyTheNewestIsTaken(t *testing.T) {
	v := New[int]()
	for i := range 3 {
		v.Put(i)
	}
	if got := <-v; got != 2 {
		t.Errorf("took %d, want the newest", got)
	}
	select {
	case got := <-v:
		t.Errorf("took %d, which is older", got)
	default:
	}
	v.Put(3)
	if got := <-v; got != 3 {
		t.Errorf("took %d after the others", got)
	}
}
