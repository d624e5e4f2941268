// Package text makes what others wrote fit to be shown: control characters end a line or
// move a terminal's cursor, and some of Unicode's turn the writing direction, or show
// nothing, so that one name passes for another.
package text

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clean is for text that is shown and means nothing to this program: what cannot be shown
// becomes U+FFFD, white space becomes a space.
func Clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsPrint(r):
			return r
		case unicode.IsSpace(r):
			return ' '
		default:
			return utf8.RuneError
		}
	}, s)
}

// Name is for names that must stay distinguishable: no two of them look alike. A character
// that cannot be shown becomes \u{} with its number, and a backslash two of them.
func Name(s string) string {
	if !strings.ContainsFunc(s, escaped) && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], string(utf8.RuneError)):
			fmt.Fprintf(&b, `\x{%x}`, s[i])
		case r == '\\':
			b.WriteString(`\\`)
		case escaped(r):
			fmt.Fprintf(&b, `\u{%x}`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func escaped(r rune) bool { return r == '\\' || !unicode.IsPrint(r) }

// HasControls reports whether s has control characters, or is not UTF-8.
func HasControls(s string) bool {
	return !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl)
}
