package auth

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func newToken(t testing.TB, id Identity) (token, line string) {
	t.Helper()
	token, line, err := NewToken(id)
	if err != nil {
		t.Fatal(err)
	}
	return token, line
}

func TestOnlyTheTokensOfTheFileAreKnown(t *testing.T) {
	alice, bob := Identity{"alice", Operator}, Identity{"bob", Viewer}
	first, line1 := newToken(t, alice)
	second, line2 := newToken(t, alice)
	third, line3 := newToken(t, bob)
	stranger, _ := newToken(t, alice)
	tokens, err := ParseTokens([]byte("# the team\n\n" + line1 + "\r\n  " + line2 + "\n" + line3))
	if err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]Identity{
		first: alice, second: alice, third: bob,
		stranger: {}, "": {}, first + "x": {}, first[:len(first)-1]: {}, strings.Fields(line1)[2]: {},
	} {
		if got, ok := tokens.Find(token); got != want || ok != (want != Identity{}) {
			t.Errorf("%q is %v, %v, want %v", token, got, ok, want)
		}
	}
	if strings.Contains(line1, first) || strings.Contains(line1, strings.TrimPrefix(first, tokenPrefix)) {
		t.Error("the line gives the token away")
	}
}

func TestBadTokenFilesAreRefusedWithoutTellingWhatIsInThem(t *testing.T) {
	token, line := newToken(t, Identity{"alice", Viewer})
	hash := strings.Fields(line)[2]
	for file, want := range map[string]string{
		"viewer alice":                                       "line 1: 2 words",
		"\nviewer alice " + hash + " x":                      "line 2: 4 words",
		"root alice " + hash:                                 `role "root"`,
		"viewer alice " + token:                              "not a SHA-256",
		"viewer alice " + hash[:62]:                          "not a SHA-256",
		"viewer alice " + hash + "00":                        "not a SHA-256",
		"viewer al\x00ice " + hash:                           "unprintable",
		"viewer " + strings.Repeat("a", 201) + " " + hash:    "201 bytes",
		line + "\n" + line:                                   "twice",
		line + "\noperator alice " + strings.Repeat("0", 64): "as viewer already",
	} {
		_, err := ParseTokens([]byte(file))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want %q", file, err, want)
		}
		if err != nil && (strings.Contains(err.Error(), token) || strings.Contains(err.Error(), hash)) {
			t.Errorf("the error gives it away: %v", err)
		}
	}
	if _, _, err := NewToken(Identity{Name: "a b", Role: Viewer}); err == nil {
		t.Error("a name with a space was taken")
	}
}

func TestAnOperatorMayWhatAViewerMay(t *testing.T) {
	for _, tt := range []struct {
		role, want Role
		may        bool
	}{{Viewer, Viewer, true}, {Viewer, Operator, false}, {Operator, Viewer, true}, {Operator, Operator, true}, {"", Viewer, false}, {"", Operator, false}} {
		if got := tt.role.May(tt.want); got != tt.may {
			t.Errorf("%q may %q: %v", tt.role, tt.want, got)
		}
	}
}

func request(authorization, commonName string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/members", nil)
	if authorization != "" {
		r.Header.Set("Authorization", authorization)
	}
	if commonName != "" {
		cert := &x509.Certificate{Subject: pkix.Name{CommonName: commonName}}
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}, VerifiedChains: [][]*x509.Certificate{{cert}}}
	}
	return r
}

func TestATokenTakenBackIsRefusedWithinASecond(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tokens")
	old, oldLine := newToken(t, Identity{"alice", Operator})
	fresh, freshLine := newToken(t, Identity{"alice", Operator})
	synctest.Test(t, func(t *testing.T) {
		write := func(content string) {
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		write(oldLine)
		a, err := New(Options{TokenFile: path, ClientCA: true, Operators: []string{"root"}, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		known := func(r *http.Request, name string, role Role) {
			t.Helper()
			if got, err := a.Identify(r); err != nil || got != (Identity{name, role}) {
				t.Errorf("%v, %v, want %s %s", got, err, name, role)
			}
		}
		unknown := func(r *http.Request) {
			t.Helper()
			if got, err := a.Identify(r); err == nil {
				t.Errorf("%v, want an error", got)
			}
		}
		known(request("Bearer "+old, ""), "alice", Operator)
		unknown(request("Bearer "+fresh, ""))
		write(oldLine + "\n" + freshLine)
		known(request("bearer "+old, ""), "alice", Operator)
		known(request("Bearer "+fresh, ""), "alice", Operator)
		write("viewer alice")
		known(request("Bearer "+old, ""), "alice", Operator)
		write(freshLine)
		unknown(request("Bearer "+old, ""))
		known(request("Bearer "+fresh, ""), "alice", Operator)

		unknown(request("Bearer x", "root")) // a wrong token is not made good by a certificate
		unknown(request("Basic "+fresh, ""))
		known(request("", "root"), "root", Operator)
		known(request("", "somebody"), "somebody", "")
		known(request("", ""), "", "")
	})
}

func TestAPolicySaysWhoReadsWhat(t *testing.T) {
	p, err := ParsePolicy([]byte("spiffe://fleet/pay: [payments, users]\nadmin: [\"*\"]\n\"*\": [public]\nnobody: []\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		id, service string
		want        bool
	}{
		{"spiffe://fleet/pay", "payments", true}, {"spiffe://fleet/pay", "other", false}, {"spiffe://fleet/pay", "public", false}, {"spiffe://fleet/pay", "*", false},
		{"admin", "other", true}, {"admin", "*", true}, {"stranger", "public", true}, {"stranger", "payments", false},
		{"", "public", true}, {"", "payments", false}, {"nobody", "public", false}, {"*", "payments", false},
	} {
		if got := p.Allows(tt.id, tt.service); got != tt.want {
			t.Errorf("%q reads %q: %v", tt.id, tt.service, got)
		}
	}
	for _, bad := range []string{"[]", "a: b", "a: [a/b]", "a: [\"\"]", "a: [1, {}]", "a: [x]\na: [y]", "\x00"} {
		if _, err := ParsePolicy([]byte(bad)); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func FuzzTokenFile(f *testing.F) {
	_, line := newToken(f, Identity{"alice", Operator})
	for _, seed := range []string{"", "#", line, line + "\n" + line, "viewer a b", "viewer a " + strings.Repeat("0", 64), "\xff \x00 \r\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		tokens, err := ParseTokens(file)
		if err != nil {
			return
		}
		for _, e := range tokens.entries {
			if _, err := ParseRole(string(e.id.Role)); err != nil || checkName(e.id.Name) != nil {
				t.Errorf("let in %+v", e.id)
			}
		}
		if id, ok := tokens.Find(""); ok && !strings.Contains(strings.ToLower(string(file)), "e3b0c44298fc1c149afbf4c8996fb924") {
			t.Errorf("no token at all is %v", id)
		}
	})
}

func FuzzPolicy(f *testing.F) {
	for _, seed := range []string{"a: [b]", `{"a":["*"]}`, "*: [b]", "a: &x [b]\nb: *x", ""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		if p, err := ParsePolicy(file); err == nil {
			p.Allows("a", "b")
		}
	})
}

func TestThePolicyOfTheManualIsOne(t *testing.T) {
	manual, err := os.ReadFile("../../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(manual), "```yaml\n")
	file, _, _ := strings.Cut(rest, "```")
	p, err := ParsePolicy([]byte(file))
	if !found || err != nil || !p.Allows("spiffe://example.org/envoy-1", "users") || p.Allows("spiffe://example.org/envoy-1", "myservice") || !p.Allows("else", "myservice") || p.Allows("else", "users") {
		t.Errorf("%q is read as %+v, %v", file, p, err)
	}
}
