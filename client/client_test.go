package client

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve starts a server on loopback that ends with the test. It answers in JSON unless
// h says otherwise.
func serve(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", mediaJSON)
		h(w, r)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// nobody is an address that refuses connections.
func nobody(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func newClient(t *testing.T, servers ...string) *Client {
	t.Helper()
	c, err := New(Options{Servers: servers, Actor: "ann", Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestAServerIsNamedByURLOrAddress(t *testing.T) {
	for server, want := range map[string]string{
		"127.0.0.1:8080": "http://127.0.0.1:8080", " eds:80 ": "http://eds:80", "https://eds/": "https://eds",
		"http://eds/behind/": "http://eds/behind", "[::1]:80": "http://[::1]:80",
		"10.0.0.5": "http://10.0.0.5:8080", "eds": "http://eds:8080", "eds:": "http://eds:8080", "::1": "http://[::1]:8080", "[::1]": "http://[::1]:8080",
		"http://eds": "http://eds", "eds/behind": "http://eds:8080/behind",
		"": "", ":80": "", "ftp://eds": "", "http://": "", "eds:port": "", "http://eds?x=1": "", "http://eds#x": "",
	} {
		c, err := New(Options{Servers: []string{server}})
		if (err == nil) != (want != "") || (err == nil && c.servers[0] != want) {
			t.Errorf("%q: %v, %+v", server, err, c)
		}
	}
	if c, err := New(Options{}); err != nil || c.servers[0] != "http://"+DefaultServer {
		t.Errorf("without a server: %v, %+v", err, c)
	}
}

func TestAServerWithoutASchemeIsAskedOverTLSWhereThatIsMeant(t *testing.T) {
	for _, tt := range []struct {
		opts Options
		want string
	}{
		{Options{TLS: &tls.Config{}}, "https://127.0.0.1:8080"},
		{Options{Servers: []string{"10.0.0.5"}, TLS: &tls.Config{}}, "https://10.0.0.5:8080"},
		{Options{Servers: []string{"10.0.0.5:80"}, Token: "t"}, "https://10.0.0.5:80"},
		{Options{Servers: []string{"localhost"}, Token: "t"}, "http://localhost:8080"}, // it stays on this machine
		{Options{Servers: []string{"http://10.0.0.5:80"}, TLS: &tls.Config{}}, "http://10.0.0.5:80"},
	} {
		if c, err := New(tt.opts); err != nil || c.servers[0] != tt.want {
			t.Errorf("%q is asked at %+v, %v, want %s", tt.opts.Servers, c, err, tt.want)
		}
	}
	if _, err := New(Options{Servers: []string{"http://10.0.0.5:80"}, Token: "t"}); err == nil || !strings.Contains(err.Error(), "in the clear") {
		t.Errorf("a token to http://: %v", err)
	}
}

func TestWhoIsNotTheAPIIsToldApart(t *testing.T) {
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	t.Cleanup(secure.Close)
	address := secure.Listener.Addr().String()
	grpc := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.WriteHeader(http.StatusUnsupportedMediaType)
	})
	for server, want := range map[string]string{
		"http://" + address: "speaks TLS, give its URL as https://" + address,
		strings.Replace(serve(t, http.NotFound), "http", "https", 1): "it speaks no TLS, give its URL with http://:",
		grpc: "answers as a gRPC server: " + notTheAPI,
		saying(t, "\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00"): notTheAPI + ": it answers, but not in HTTP",
		saying(t, ""): notTheAPI + ": EOF",
		strings.Replace(saying(t, "\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00"), "http", "https", 1): notTheAPI + ": tls: first record",
	} {
		_, err := newClient(t, server).Services(t.Context())
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", server, err, want)
		}
	}
}

func TestWhoInsistsOnACertificateIsNotTheAPI(t *testing.T) {
	refused := &net.OpError{Op: "remote error", Err: errors.New("tls: certificate required")}
	if err := unreachable("https://eds", refused); !errors.Is(err, ErrUnreachable) || !errors.Is(err, refused) || !strings.Contains(err.Error(), notTheAPI) {
		t.Error(err)
	}
}

// saying is the URL of a server that says the same to everybody and hangs up.
func saying(t *testing.T, words string) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 1<<12)) // of a question, so that hanging up is no reset
			_, _ = io.WriteString(c, words)
			_ = c.Close()
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		running.Wait()
	})
	return "http://" + l.Addr().String()
}

func TestTheNextServerIsAskedWhenNothingCanHaveBeenDone(t *testing.T) {
	good := func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"service":"s","host":"h"}`)) }
	refuses := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }
	}
	hangsUp := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	read := func(c *Client) error { _, err := c.Host(t.Context(), "s", "h"); return err }
	write := func(c *Client) error {
		_, err := c.Decide(t.Context(), "s", "h", Change{"state": Drain}, Terms{})
		return err
	}
	for name, tt := range map[string]struct {
		first string
		do    func(*Client) error
		next  bool
	}{
		"a read of nobody":                {nobody(t), read, true},
		"a write to nobody":               {nobody(t), write, true},
		"a read of one that hangs up":     {serve(t, hangsUp), read, true},
		"a write to one that hangs up":    {serve(t, hangsUp), write, false},
		"a read of one that is not ready": {serve(t, refuses(503)), read, true},
		"a write to one":                  {serve(t, refuses(503)), write, true},
		"a read that is refused":          {serve(t, refuses(404)), read, false},
		"a write that is refused":         {serve(t, refuses(412)), write, false},
		"a write that failed":             {serve(t, refuses(500)), write, false},
	} {
		t.Run(name, func(t *testing.T) {
			if err := tt.do(newClient(t, tt.first, serve(t, good))); (err == nil) != tt.next {
				t.Errorf("the answer is %v", err)
			}
		})
	}
}

func TestARequestIsBounded(t *testing.T) {
	stuck := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	c := newClient(t, stuck, stuck)
	c.timeout = 100 * time.Millisecond
	begun := time.Now()
	_, err := c.Services(t.Context())
	if !errors.Is(err, ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) > 5*time.Second {
		t.Errorf("after %s: %v", time.Since(begun), err)
	}
}

func TestARefusalIsAProblem(t *testing.T) {
	for name, tt := range map[string]struct{ media, body, want string }{
		"a problem":             {"application/problem+json", `{"status":1,"detail":"no such host"}`, "no such host"},
		"one with a control":    {"application/problem+json; charset=utf-8", `{"detail":"a\u001b[2Jb"}`, "a·[2Jb"},
		"a problem of another":  {"application/problem+json", `[]`, "answered 404 Not Found and did not say why"},
		"one that says nothing": {"application/problem+json", `{}`, "answered 404 Not Found and did not say why"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newClient(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", tt.media)
				w.WriteHeader(404)
				_, _ = w.Write([]byte(tt.body))
			}))
			_, err := c.Service(t.Context(), "s")
			p, ok := errors.AsType[*Problem](err)
			if !ok || p.Status != 404 || !strings.HasSuffix(p.Error(), tt.want) {
				t.Errorf("the error is %+v", err)
			}
		})
	}
}

func TestAnAnswerOfSomethingElseIsNoneOfTheAPI(t *testing.T) {
	for _, tt := range []struct {
		status      int
		media, body string
		passing     bool
	}{
		{404, "text/plain; charset=UTF-8", "invalid path. admin commands are:", false}, // Envoy's admin interface
		{200, "text/plain", "f1e2d3c4-2222-4333-8444-555555555555", false},             // its listener
		{200, "", "", false},
		{302, "text/html", "", false},
		{412, "text/html", "", false},
		{503, "text/plain", "no healthy upstream", true}, // its listener, or a proxy before the API
		{429, "text/html", "", true},
	} {
		c := newClient(t, serve(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", tt.media)
			w.WriteHeader(tt.status)
			_, _ = io.WriteString(w, tt.body)
		}))
		for what, err := range map[string]error{
			"read":     func() error { _, err := c.Service(t.Context(), "s"); return err }(),
			"write":    c.Unpin(t.Context(), "s", Terms{}),
			"followed": func() error { _, err := (&follower{}).follow(t.Context(), c, c.servers[0], Listener{}); return err }(),
		} {
			p, ok := errors.AsType[*Problem](err)
			if err == nil || !strings.Contains(err.Error(), notTheAPI) || !strings.Contains(err.Error(), http.StatusText(tt.status)) ||
				errors.Is(err, ErrNotTheAPI) == tt.passing || ok != tt.passing || ok && p.Status != tt.status || passing(err) != tt.passing {
				t.Errorf("%d %s, %s: %T %v", tt.status, tt.media, what, err, err)
			}
		}
	}
}

func TestRequestsSayWhatTheAPIReads(t *testing.T) {
	var got string
	c := newClient(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		var body json.RawMessage
		_ = json.NewDecoder(r.Body).Decode(&body)
		got = strings.Join([]string{r.Method, r.RequestURI, string(body), r.Header.Get("If-Match"), r.Header.Get("X-Rollcall-Actor")}, " ")
		_, _ = w.Write([]byte(`{}`))
	}))
	ctx := t.Context()
	for _, tt := range []struct {
		do   func() error
		want string
	}{
		{func() error {
			_, err := c.Decide(ctx, "a b", "[::1]:80", Change{"state": Drain}, Terms{For: "1h", Reason: "why", IfMatch: `"x"`})
			return err
		}, `PATCH /edsservice/a%20b/hosts/%5B::1%5D:80 {"expires_in":"1h","reason":"why","state":"drain"} "x" ann`},
		{func() error {
			_, err := c.Decide(ctx, "s", "h", Change{"state": nil}, Terms{For: Forever})
			return err
		}, `PATCH /edsservice/s/hosts/h {"expires_in":null,"state":null}  ann`},
		{func() error { return c.Undo(ctx, "s", "h", Terms{Reason: "why"}) }, `DELETE /edsservice/s/hosts/h?reason=why   ann`},
		{func() error { return c.Revoke(ctx, "0f", Terms{}) }, `DELETE /overrides/0f   ann`},
		{func() error {
			_, err := c.Pin(ctx, "s", []ListedHost{{Port: 1}}, Terms{For: "7d", Reason: "why"})
			return err
		}, `PUT /edsservice/s?expires_in=7d&reason=why {"hosts":[{"ip_address":"","port":1}]}  ann`},
		{func() error { return c.Unpin(ctx, "s", Terms{IfMatch: "*"}) }, `DELETE /edsservice/s  * ann`},
		{func() error { return c.ReleaseGuard(ctx, "s") }, `DELETE /guards/s   ann`},
	} {
		if err := tt.do(); err != nil || got != tt.want {
			t.Errorf("%v\n got %s\nwant %s", err, got, tt.want)
		}
	}
}

func TestTheAuditIsReadPageByPage(t *testing.T) {
	var asked []string
	c := newClient(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.RawQuery)
		if r.URL.Query().Get("before") == "" {
			_, _ = w.Write([]byte(`{"audit":[{"id":"3","action":"created","more":1},{"id":"2"}],"next":"2"}`))
			return
		}
		_, _ = w.Write([]byte(`{"audit":[{"id":"1"}]}`))
	}))
	got, err := c.Audit(t.Context(), "24h", 1200)
	if err != nil || len(got.Value) != 3 || got.Value[2].ID != "1" {
		t.Fatalf("%+v, %v", got.Value, err)
	}
	if want := `{"audit":[{"id":"3","action":"created","more":1},{"id":"2"},{"id":"1"}]}`; string(got.JSON) != want {
		t.Errorf("as it came it is %s", got.JSON)
	}
	if want := []string{"limit=1000&since=24h", "before=2&limit=1000&since=24h"}; !reflect.DeepEqual(asked, want) {
		t.Errorf("asked for %q", asked)
	}
}

func TestTagsKeepWhatHasNoMeaning(t *testing.T) {
	in := `{"az":"a","canary":true,"load_balancing_weight":5,"region":"r","version":"2"}`
	var tags Tags
	if err := json.Unmarshal([]byte(in), &tags); err != nil {
		t.Fatal(err)
	}
	if want := (Tags{AZ: "a", Region: "r", Canary: true, Weight: 5, Further: map[string]string{"version": "2"}}); !reflect.DeepEqual(tags, want) {
		t.Errorf("read as %+v", tags)
	}
	if out, err := json.Marshal(tags); err != nil || string(out) != in {
		t.Errorf("written as %s, %v", out, err)
	}
	if err := json.Unmarshal([]byte(`{"version":2}`), &tags); err == nil {
		t.Error("a number is read as a tag")
	}
}
