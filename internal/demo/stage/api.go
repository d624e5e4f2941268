package stage

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// API talks to an EDS server's HTTP port. Its methods may be called from any goroutine.
type API struct {
	base string
	http *http.Client
}

// NewAPI returns a client of the EDS server whose HTTP address is addr.
func NewAPI(addr string) *API { return NewAPIVia(addr, nil) }

// Dial connects, like net.Dialer.DialContext.
type Dial = func(ctx context.Context, network, address string) (net.Conn, error)

// NewAPIVia is NewAPI over connections that dial makes; nil is the ordinary way.
func NewAPIVia(addr string, dial Dial) *API {
	return &API{base: "http://" + addr, http: &http.Client{
		Transport: &http.Transport{DisableKeepAlives: dial == nil, DialContext: dial},
		Timeout:   requestTimeout,
	}}
}

// Do sends a request, with body as JSON unless it is "", and returns status and body.
func (a *API) Do(ctx context.Context, method, path, body string) (int, string, error) {
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, bytes.NewBufferString(body))
	if err != nil {
		return 0, "", err
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, "", fmt.Errorf("%s %s: %w", method, path, err)
	}
	return resp.StatusCode, string(b), nil
}

// Expect is Do that fails unless the answer has the status want.
func (a *API) Expect(ctx context.Context, want int, method, path, body string) (string, error) {
	status, got, err := a.Do(ctx, method, path, body)
	if err != nil {
		return "", err
	}
	if status != want {
		return "", fmt.Errorf("%s %s: status %d, not %d: %s", method, path, status, want, strings.TrimSpace(got))
	}
	return got, nil
}

// Get decodes the JSON that path answers with 200 into v.
func (a *API) Get(ctx context.Context, path string, v any) error {
	body, err := a.Expect(ctx, http.StatusOK, http.MethodGet, path, "")
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(body), v); err != nil {
		return fmt.Errorf("GET %s: %w", path, err)
	}
	return nil
}

// Service is a service as GET /edsservice/{service} answers.
type Service struct {
	Mode  string `json:"mode"`
	Hosts []Host `json:"hosts"`
}

// Host is one host of a Service.
type Host struct {
	IP     string    `json:"ip_address"`
	Port   int       `json:"port"`
	ID     string    `json:"id"`
	Source string    `json:"source"`
	State  string    `json:"state"`
	Served bool      `json:"served"`
	Since  time.Time `json:"since"`
}

// Service asks for one service. One that is not there has neither mode nor hosts.
func (a *API) Service(ctx context.Context, name string) (Service, error) {
	var s Service
	path := "/edsservice/" + name
	status, body, err := a.Do(ctx, http.MethodGet, path, "")
	switch {
	case err != nil:
		return s, err
	case status == http.StatusNotFound:
		return s, nil
	case status != http.StatusOK:
		return s, fmt.Errorf("GET %s: status %d: %s", path, status, body)
	}
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		return s, fmt.Errorf("GET %s: %w", path, err)
	}
	return s, nil
}

// Ready returns nil once the EDS server answers Envoys.
func (a *API) Ready(ctx context.Context) error {
	_, err := a.Expect(ctx, http.StatusOK, http.MethodGet, "/readyz", "")
	return err
}

// HostList is the payload of POST and PUT for upstreams on these ports of this machine.
func HostList(ports ...int) string {
	type host struct {
		IP   string `json:"ip_address"`
		Port int    `json:"port"`
	}
	list := struct {
		Hosts []host `json:"hosts"`
	}{Hosts: []host{}}
	for _, p := range ports {
		list.Hosts = append(list.Hosts, host{"127.0.0.1", p})
	}
	b, _ := json.Marshal(list) // plain values always encode
	return string(b)
}
