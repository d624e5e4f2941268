package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
)

// A server with more endpoints than file descriptors probes as many as it can, and its
// ports answer; endpoints that it cannot probe stay in service.
func TestProbesLeaveFileDescriptorsToThePorts(t *testing.T) {
	t.Parallel()
	const limit, endpoints = 80, 150
	h := newHarness(t)
	shell := filepath.Join(t.TempDir(), "rollcall")
	script := fmt.Sprintf("#!/bin/sh\nulimit -n %d\nexec %s \"$@\"\n", limit, h.Binary)
	if err := os.WriteFile(shell, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	h.Binary = shell
	p := h.eds("--probe-interval", "200ms")

	lis := must2(net.Listen("tcp", "0.0.0.0:0"))(t)
	web := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})}
	go web.Serve(lis)
	t.Cleanup(func() { web.Close() })
	port := netip.MustParseAddrPort(lis.Addr().String()).Port()
	var hosts []string
	for i := range endpoints {
		hosts = append(hosts, fmt.Sprintf(`{"ip_address":"127.0.1.%d","port":%d,"probe":true}`, i+1, port))
	}
	h.request(http.StatusCreated, http.MethodPost, "/edsservice/many", `{"hosts":[`+strings.Join(hosts, ",")+`]}`)
	h.logs(p, "level=WARN", "some endpoints are not probed", "limit=80")

	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		ctx := within(t, 2*time.Second)
		for _, path := range []string{"/healthz", "/readyz", "/members"} {
			must2(freshGet(ctx, "http://"+h.Addresses.HTTP+path))(t)
		}
		if err := xdsAnswers(ctx, h.Addresses.XDS); err != nil {
			t.Fatal(err)
		}
		body := h.request(http.StatusOK, http.MethodGet, "/edsservice/many", "")
		if n := strings.Count(body, `"served":true`); n != endpoints {
			t.Fatalf("%d of %d endpoints are served", n, endpoints)
		}
	}
	metrics := h.request(http.StatusOK, http.MethodGet, "/metrics", "")
	for _, want := range []string{`rollcall_bound{of="probe_connections"} 40`, "rollcall_probe_connections_refused_total ", "process_max_fds 80"} {
		if !strings.Contains(metrics, want) {
			t.Errorf("the metrics have no %s", want)
		}
	}
}

// freshGet asks over a connection of its own.
func freshGet(ctx context.Context, url string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	return resp.StatusCode, nil
}

// xdsAnswers asks for the health of the gRPC port over a connection of its own.
func xdsAnswers(ctx context.Context, addr string) error {
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{})
	return err
}
