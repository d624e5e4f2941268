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

// age writes how long ago t was, or how long it is until then, rounded: 45s, 3m,
// 5h, 9d.
func age(now, t time.Time) string {
	const day = 24 * time.Hour
	d := now.Sub(t).Abs()
	switch {
	case t.IsZero():
		return ""
	case d.Round(time.Second) < 2*time.Minute:
		return fmt.Sprintf("%ds", d.Round(time.Second)/time.Second)
	case d.Round(time.Minute) < 2*time.Hour:
		return fmt.Sprintf("%dm", d.Round(time.Minute)/time.Minute)
	case d.Round(time.Hour) < 2*day:
		return fmt.Sprintf("%dh", d.Round(time.Hour)/time.Hour)
	default:
		return fmt.Sprintf("%dd", d.Round(day)/day)
	}
}

// short is the part of a uuid that a person types.
func short(id string) string { return id[:min(len(id), 8)] }
