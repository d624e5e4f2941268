package option

import (
	"errors"
	"fmt"
	"testing"
)

func TestOptionsAreNamedAsTheCallerKnowsThem(t *testing.T) {
	cause := errors.New("cause")
	err := Rename(fmt.Errorf("option Bind is bad, and option Bindings, set option Other: %w", cause), map[string]string{"Bind": "--gossip", "Other": "option WithOther"})
	if got := err.Error(); got != "--gossip is bad, and option Bindings, set option WithOther: cause" || !errors.Is(err, cause) {
		t.Error(got)
	}
	if Rename(nil, nil) != nil || Rename(cause, nil) != cause {
		t.Error("an error that names no option is another one")
	}
}
