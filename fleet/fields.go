package fleet

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// knownFields are the names of wire's fields.
var knownFields = func() []string {
	var names []string
	for f := range reflect.TypeFor[wire]().Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}()

// unknownFields returns the text of the fields of a valid JSON object that wire does not
// have. It rejects what two decoders could read differently: a name that occurs twice
// (encoding/json takes the last value), and a known name in another case (encoding/json
// treats both as the same).
func unknownFields(object []byte) (string, error) {
	var unknown []string
	err := eachField(object, func(name string, field, value []byte) error {
		if !slices.Contains(knownFields, name) {
			unknown = append(unknown, string(field))
			i := slices.IndexFunc(knownFields, func(known string) bool { return strings.EqualFold(known, name) })
			if i >= 0 {
				return fmt.Errorf("field %q differs from %q only in case", name, knownFields[i])
			}
		}
		if name == "k" && value[0] == '{' { // any other type is rejected later
			return eachField(value, func(string, []byte, []byte) error { return nil })
		}
		return nil
	})
	return strings.Join(unknown, ","), err
}

const jsonSpace = " \t\r\n"

// eachField yields the fields of a valid JSON object: the name, the text from the name
// to the end of the value, and the value. It rejects a name that occurs twice.
func eachField(object []byte, yield func(name string, field, value []byte) error) error {
	seen := make([]string, 0, len(knownFields))
	rest := bytes.TrimLeft(object, jsonSpace)[1:]
	for {
		rest = bytes.TrimLeft(rest, ","+jsonSpace)
		if rest[0] == '}' {
			return nil
		}
		quoted := rest[:valueEnd(rest)]
		value := bytes.TrimLeft(rest[len(quoted):], ":"+jsonSpace)
		start := len(rest) - len(value)
		end := start + valueEnd(value)
		name, err := unquote(quoted)
		switch {
		case err != nil:
			return err
		case slices.Contains(seen, name):
			return fmt.Errorf("field %q occurs twice", name)
		}
		seen = append(seen, name)
		if err := yield(name, rest[:end], rest[start:end]); err != nil {
			return err
		}
		rest = rest[end:]
	}
}

// valueEnd is the length of the JSON value that valid JSON begins with.
func valueEnd(b []byte) int {
	depth, quoted := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
			if !quoted && depth == 0 {
				return i + 1
			}
		case quoted:
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			if depth--; depth == 0 {
				return i + 1
			}
			if depth < 0 { // the end of the enclosing value
				return i
			}
		case depth == 0 && strings.IndexByte(",:"+jsonSpace, c) >= 0:
			return i
		}
	}
	return len(b)
}

func unquote(b []byte) (string, error) {
	if bytes.IndexByte(b, '\\') < 0 {
		return string(b[1 : len(b)-1]), nil
	}
	var s string
	err := json.Unmarshal(b, &s)
	return s, err
}
