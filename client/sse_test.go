package client

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
)

// decode reads all events of a stream.
func decode(r io.Reader) (events []Event, err error) {
	for d := newDecoder(r); ; {
		e, err := d.next()
		if err != nil {
			return events, err
		}
		events = append(events, e)
	}
}

func TestServerSentEventsAreReadAsTheStandardSays(t *testing.T) {
	for name, tt := range map[string]struct {
		stream string
		want   []Event
	}{
		"an event":                     {"id: 1\nevent: member\ndata: {}\n\n", []Event{{"1", "member", []byte("{}")}}},
		"lines of data":                {"data: a\ndata: b\n\n", []Event{{"", "", []byte("a\nb")}}},
		"one space belongs to it":      {"data:  a\n\n", []Event{{"", "", []byte(" a")}}},
		"no space at all":              {"data:a\n\n", []Event{{"", "", []byte("a")}}},
		"a field without a value":      {"data\n\n", []Event{{"", "", nil}}},
		"a comment":                    {": hello\n\ndata: a\n\n", []Event{{"", "", []byte("a")}}},
		"an unknown field":             {"retry: 1\nfoo: x\ndata: a\n\n", []Event{{"", "", []byte("a")}}},
		"the id stays":                 {"id: 7\ndata: a\n\ndata: b\n\n", []Event{{"7", "", []byte("a")}, {"7", "", []byte("b")}}},
		"the name does not":            {"event: x\n\ndata: b\n\n", []Event{{"", "", []byte("b")}}},
		"an id with NUL is none":       {"id: 1\x002\ndata: a\n\n", []Event{{"", "", []byte("a")}}},
		"CR ends a line":               {"id: 1\rdata: a\r\r", []Event{{"1", "", []byte("a")}}},
		"CR LF ends one":               {"id: 1\r\ndata: a\r\n\r\n", []Event{{"1", "", []byte("a")}}},
		"a byte order mark":            {"\ufeffdata: a\n\n", []Event{{"", "", []byte("a")}}},
		"one that is cut short":        {"data: a\n\ndata: b\n", []Event{{"", "", []byte("a")}}},
		"one without data is no event": {"id: 3\nevent: x\n\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := decode(strings.NewReader(tt.stream))
			if !reflect.DeepEqual(got, tt.want) || !errors.Is(err, io.EOF) {
				t.Errorf("%q is read as %+v, %v", tt.stream, got, err)
			}
		})
	}
}

func TestAnEndlessEventIsGivenUp(t *testing.T) {
	for name, repeated := range map[string]string{"a line": "x", "lines": "data: x\n"} {
		t.Run(name, func(t *testing.T) {
			stream := strings.NewReader(strings.Repeat(repeated, 2*maxEvent/len(repeated)))
			if _, err := decode(stream); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("it is read to its end: %v", err)
			}
		})
	}
}

// FuzzDecoder checks that the network's way of cutting a stream into pieces changes
// nothing, and that what is read can be told again.
func FuzzDecoder(f *testing.F) {
	f.Add([]byte("id: 1\nevent: member\ndata: {}\n\n"))
	f.Add([]byte("\ufeff:\r\rdata:a\r\ndata\r\r\nid:\x00\n\n"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		whole, err := decode(bytes.NewReader(stream))
		pieces, err2 := decode(iotest.OneByteReader(bytes.NewReader(stream)))
		if !reflect.DeepEqual(whole, pieces) || !errors.Is(err, io.EOF) || !errors.Is(err2, io.EOF) {
			t.Fatalf("whole %+v, %v; in pieces %+v, %v", whole, err, pieces, err2)
		}
		var again bytes.Buffer
		for _, e := range whole {
			if bytes.ContainsAny(e.Data, "\r") || strings.ContainsAny(e.ID+e.Name, "\r\n") {
				t.Fatalf("%+v has the end of a line", e)
			}
			again.WriteString("id: " + e.ID + "\nevent: " + e.Name + "\n")
			for line := range bytes.SplitSeq(e.Data, []byte("\n")) {
				again.WriteString("data: " + string(line) + "\n")
			}
			again.WriteString("\n")
		}
		if got, _ := decode(&again); !reflect.DeepEqual(got, whole) {
			t.Fatalf("told again it is %+v, was %+v", got, whole)
		}
	})
}
