package text

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestUnprintableTextIsReplaced(t *testing.T) {
	for s, want := range map[string]string{
		"plain ünïcode": "plain ünïcode", "two\nlines\tand": "two lines and", "\x1b[2J": "\ufffd[2J", "\xff\xfe": "\ufffd\ufffd",
		"a\u202eb": "a\ufffdb", "c1\u009b": "c1\ufffd", "zero\u200bwidth": "zero\ufffdwidth", "": "",
	} {
		if got := Clean(s); got != want {
			t.Errorf("%q becomes %q, want %q", s, got, want)
		}
	}
}

func TestDifferentNamesStayDifferent(t *testing.T) {
	for s, want := range map[string]string{
		"envoy-1": "envoy-1", `back\slash`: `back\\slash`, "a\u202eb": `a\u{202e}b`, "\u200b": `\u{200b}`, "\xff": `\x{ff}`, "\ufffd": "\ufffd",
	} {
		if got := Name(s); got != want {
			t.Errorf("%q becomes %q, want %q", s, got, want)
		}
	}
	if HasControls("ünï\u202e") || !HasControls("a\u0085") || !HasControls("a\n") || !HasControls("\xff") {
		t.Error("controls are not told from others")
	}
}

func FuzzText(f *testing.F) {
	f.Add("a", "b\u202e")
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, s := range []string{Clean(a), Name(a)} {
			if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) && r != utf8.RuneError }) {
				t.Errorf("%q becomes %q", a, s)
			}
		}
		if a != b && Name(a) == Name(b) {
			t.Errorf("%q and %q are both %q", a, b, Name(a))
		}
	})
}
