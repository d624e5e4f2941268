// Package show draws what package client answers for a person to read: tables, one
// line for each change, and the screen of rollcall watch. It reads no clock and
// knows no terminal: the moment and the size are handed to it.
package show

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/rollcall-fleet/rollcall/client"
)

// table is rows of cells, the first of them the headers.
type table struct{ rows [][]string }

func newTable(headers ...string) *table { return &table{rows: [][]string{headers}} }

// row adds a row. Cells come from a network and may hold anything.
func (t *table) row(cells ...string) {
	for i, c := range cells {
		cells[i] = client.Printable(c)
		if c == "" {
			cells[i] = "-"
		}
	}
	t.rows = append(t.rows, cells)
}

// WriteTo writes t with its columns aligned.
func (t *table) WriteTo(w io.Writer) (int64, error) {
	var b bytes.Buffer
	tw := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, cells := range t.rows {
		fmt.Fprintln(tw, strings.Join(cells, "\t"))
	}
	if err := tw.Flush(); err != nil {
		return 0, err
	}
	n, err := w.Write(b.Bytes())
	return int64(n), err
}

// age writes how long ago t was, or how long it is until then: 45s, 3m, 5h, 9d.
func age(now, t time.Time) string {
	d := now.Sub(t).Abs()
	switch {
	case t.IsZero():
		return ""
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	default:
		return fmt.Sprintf("%dd", int(d.Hours()/24))
	}
}

// short is the part of a uuid that a person types.
func short(id string) string { return id[:min(len(id), 8)] }
