package e2e

import (
	"testing"
	"time"
)

func TestNobodySpeaksForAnotherHost(t *testing.T) {
	m := machines(t, 3)
	must(t, 0, m.Impostors(within(t, patience), 3, 1))
	keeps(t, m, 2*time.Second)
	must(t, 0, m.Has(within(t, patience), 3)) // and has nothing besides
}
