package latest

// Signal wakes one goroutine that has something to look at. It is a channel to
// receive from; however often it was set meanwhile, it is received once.
type Signal chan struct{}

// NewSignal returns a Signal that is not set.
func NewSignal() Signal { return make(Signal, 1) }

// Set sets the signal. It never blocks; any goroutine may call it.
func (s Signal) Set() {
	select {
	case s <- struct{}{}:
	default:
	}
}
