package gossip

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestSeedsAreUnderstood(t *testing.T) {
	for text, want := range map[string]string{
		"10.0.0.5":            "10.0.0.5:7946",
		"10.0.0.5:1234":       "10.0.0.5:1234",
		"2001:db8::1":         "[2001:db8::1]:7946",
		"[2001:db8::1]":       "[2001:db8::1]:7946",
		"[2001:db8::1]:1234":  "[2001:db8::1]:1234",
		"::ffff:10.0.0.5":     "10.0.0.5:7946",
		"seed":                "seed 7946",
		"seed.example.com:80": "seed.example.com 80",
	} {
		s, err := parseSeed(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		got := s.addr.String()
		if s.host != "" {
			got = fmt.Sprintf("%s %d", s.host, s.addr.Port())
		}
		if got != want {
			t.Errorf("%q is read as %s, want %s", text, got, want)
		}
	}
	for _, text := range []string{"", ":7946", "seed:0", "seed:65536", "seed:x", "a b", "http://seed", "0.0.0.0:7946", "::", "[::1", "fe80::1%eth0", "a:b:c"} {
		if s, err := parseSeed(text); err == nil {
			t.Errorf("%q is read as %+v, want an error", text, s)
		}
	}
}

func TestKeyFilesAreRead(t *testing.T) {
	key := func(n int, b byte) string {
		return base64.StdEncoding.EncodeToString([]byte(strings.Repeat(string(rune(b)), n)))
	}
	write := func(text string) string {
		path := filepath.Join(t.TempDir(), "keys")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	keys, err := ReadKeyFile(write("# ours\n\n" + key(32, 'a') + "\r\n " + key(16, 'b') + " # old\n" + key(24, 'c')))
	if err != nil {
		t.Fatal(err)
	}
	if len(keys) != 3 || keys[0][0] != 'a' || len(keys[1]) != 16 || len(keys[2]) != 24 {
		t.Errorf("read %q", keys)
	}
	for text, want := range map[string]string{
		"":                                  "holds no key",
		"# nothing\n":                       "holds no key",
		key(32, 'a') + "\nsecret!secret!\n": "line 2 is not base64",
		"\n" + key(20, 'a') + "\n":          "line 2: the key is 20 bytes long, give 16, 24 or 32",
		strings.Repeat("#", maxKeyFile+1):   "longer than",
	} {
		path := write(text)
		_, err := ReadKeyFile(path)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%.20q gives %v, want an error with the path and %q", text, err, want)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("the error %q gives the key away", err)
		}
	}
	if _, err := ReadKeyFile("/nonexistent/keys"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("an absent file gives %v", err)
	}
}

func TestANewKeyCanBeUsed(t *testing.T) {
	one, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	two, _ := NewKey()
	keys, err := parseKeys(one + "\n" + two)
	if err != nil || len(keys[0]) != 32 || one == two {
		t.Errorf("new keys %s and %s are read as %v, %v", one, two, keys, err)
	}
}

func TestMemberlistsLevelsAreKept(t *testing.T) {
	for line, want := range map[string]string{
		"[DEBUG] memberlist: x\n": "DEBUG memberlist: x",
		"[INFO] memberlist: x\n":  "INFO memberlist: x",
		"[WARN] memberlist: x\n":  "WARN memberlist: x",
		"[ERR] memberlist: x":     "ERROR memberlist: x",
		"[ERROR] memberlist: x\n": "ERROR memberlist: x",
		"Err: x\n":                "ERROR x",
		"x: [WARN] y\n":           "INFO x: [WARN] y",
	} {
		if level, msg := parseLine(line); level.String()+" "+msg != want {
			t.Errorf("%q is read as %s %q, want %q", line, level, msg, want)
		}
	}
}

func TestAFloodOfLinesIsLoggedAtDebug(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		book := newBook(slog.LevelDebug)
		out := bridge(book.logger(), newThrottle())
		for port := range 1000 {
			out.Printf("[ERR] memberlist: Decrypt packet failed: No installed keys could decrypt the message from=10.0.0.1:%d", port)
			out.Printf("[ERR] memberlist: discarding packet with unacceptable label \"%d\": from=10.0.0.1:%d", port, port)
		}
		out.Print("[ERR] memberlist: Decrypt packet failed: No installed keys could decrypt the message from=10.0.0.2:1")
		if n := len(book.grep("level=ERROR")); n != 3 {
			t.Errorf("%d lines at error level, want one for each kind and address: 3", n)
		}
		if n := len(book.grep("level=DEBUG")); n != 1998 {
			t.Errorf("%d lines at debug level, want the repeats", n)
		}
		time.Sleep(throttleWindow)
		out.Print("[ERR] memberlist: Decrypt packet failed: No installed keys could decrypt the message from=10.0.0.2:1")
		if n := len(book.grep("level=ERROR")); n != 4 {
			t.Errorf("a minute later the same line is not heard again")
		}
	})
}

func TestAFloodFromManyAddressesIsBounded(t *testing.T) {
	quiet := newThrottle()
	loud := 0
	for i := range 10_000 {
		if quiet.level(fmt.Sprint(i), slog.LevelWarn) == slog.LevelWarn {
			loud++
		}
	}
	if loud != throttleKinds || len(quiet.seen) > throttleKinds {
		t.Errorf("%d lines were loud and %d are remembered, want %d", loud, len(quiet.seen), throttleKinds)
	}
}

func TestReasonsAreTheSameForTheSameCause(t *testing.T) {
	for text, want := range map[string]string{
		"1 error occurred:\n\t* failed to join 127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused\n\n":                        "connection refused",
		"1 error occurred:\n\t* failed to join 127.0.0.1:1: read tcp 127.0.0.1:41234->127.0.0.1:1: i/o timeout\n\n":                       "i/o timeout",
		"1 error occurred:\n\t* failed to join 127.0.0.1:1: received invalid msgType (72), expected pushPullMsg (6) from=127.0.0.1:1\n\n": "what listens there does not speak gossip: check the address",
	} {
		if got, _ := reason(errors.New(text), "blue"); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
	for _, text := range []string{"failed to join x: EOF", "read tcp 127.0.0.1:41234->127.0.0.1:1: read: connection reset by peer\n\n"} {
		if got, denied := reason(errors.New(text), "blue"); !denied || !strings.Contains(got, "--fleet blue") {
			t.Errorf("%q becomes %q, %t", text, got, denied)
		}
	}
	if got, _ := reason(errors.New("x: "+strings.Repeat("y", 1<<20)), ""); len(got) > maxReason {
		t.Errorf("a long error becomes %d bytes", len(got))
	}
}
