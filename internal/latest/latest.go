// Package latest hands values from one goroutine to another that wants only the
// newest: what was not taken yet is replaced, and neither waits for the other.
package latest

// Value holds the newest value that was not taken. It is a channel to receive from;
// values go in by Put alone.
type Value[T any] chan T

// New returns a Value that holds nothing.
func New[T any]() Value[T] { return make(Value[T], 1) }

// Put makes t the newest value. It never blocks; it has one caller at a time.
func (v Value[T]) Put(t T) {
	select {
	case <-v:
	default:
	}
	v <- t
}
