package show

import (
	"fmt"
	"io"
	"strings"

	"github.com/rollcall-fleet/rollcall/client"
)

// Keys writes a table of the pool's keys, and a line for each member that has
// something to say against them.
func Keys(w io.Writer, keys client.Keys) error {
	t := newTable("FINGERPRINT", "MEMBERS", "PRIMARY")
	of := func(n int) string { return fmt.Sprintf("%d/%d", n, keys.Members) }
	for _, k := range keys.Keys {
		t.row(k.Fingerprint, of(k.Members), of(k.Primary))
	}
	if _, err := t.WriteTo(w); err != nil {
		return err
	}
	if len(keys.Holders) > 0 {
		holders := newTable("MEMBER", "KEYS (THE FIRST ENCRYPTS)")
		for _, h := range keys.Holders {
			holders.row(h.Member, strings.Join(h.Keys, ","))
		}
		if _, err := fmt.Fprintln(w); err != nil {
			return err
		}
		if _, err := holders.WriteTo(w); err != nil {
			return err
		}
	}
	for _, p := range keys.Problems {
		if _, err := fmt.Fprintf(w, "member %s: %s\n", client.Printable(p.Member), client.Printable(p.Problem)); err != nil {
			return err
		}
	}
	for _, id := range keys.Silent {
		if _, err := fmt.Fprintf(w, "member %s did not answer\n", client.Printable(id)); err != nil {
			return err
		}
	}
	return nil
}
