package client

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// maxEvent bounds one server-sent event, in bytes.
const maxEvent = 4 << 20

// decoder reads server-sent events as the WHATWG's HTML standard, section 9.2.6,
// says.
type decoder struct {
	r      *bufio.Reader
	skipLF bool   // the last line ended in CR, an LF that follows belongs to it
	begun  bool   // past the byte order mark
	lastID string // outlives its event
}

func newDecoder(r io.Reader) *decoder { return &decoder{r: bufio.NewReader(r)} }

// next returns the next event that has data. One that the stream's end cuts short
// is none.
func (d *decoder) next() (Event, error) {
	var (
		name    string
		data    []byte
		hasData bool
	)
	for size := 0; ; {
		line, err := d.line()
		if err != nil {
			return Event{}, err
		}
		if size += len(line); size > maxEvent {
			return Event{}, fmt.Errorf("an event is longer than %d bytes", maxEvent)
		}
		if len(line) == 0 {
			if hasData {
				return Event{ID: d.lastID, Name: name, Data: data}, nil
			}
			name, size = "", 0
			continue
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "event":
			name = string(value)
		case "data":
			if hasData {
				data = append(data, '\n')
			}
			data, hasData = append(data, value...), true
		case "id":
			if !bytes.ContainsRune(value, 0) {
				d.lastID = string(value)
			}
		}
	}
}

// line reads up to LF, CR or both, without waiting for what follows a CR.
func (d *decoder) line() ([]byte, error) {
	var line []byte
	for {
		b, err := d.r.ReadByte()
		switch {
		case errors.Is(err, io.EOF):
			return nil, io.EOF
		case err != nil:
			return nil, err
		case b == '\n' && d.skipLF:
			d.skipLF = false
			continue
		}
		d.skipLF = false
		if b == '\n' || b == '\r' {
			d.skipLF = b == '\r'
			if !d.begun {
				d.begun = true
				line = bytes.TrimPrefix(line, []byte("\ufeff"))
			}
			return line, nil
		}
		if line = append(line, b); len(line) > maxEvent {
			return nil, fmt.Errorf("a line is longer than %d bytes", maxEvent)
		}
	}
}
