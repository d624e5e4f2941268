package faults

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// singleServer is a program that serves one connection at a time, until its client closes
// it, as Python's http.server and the default worker of gunicorn do.
const singleServer = `
import http.server, os, sys, time
port, pause, body = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3].encode()
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/health":
            with open("checks", "a") as f: f.write("%f\n" % time.time())
            time.sleep(pause)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args): pass
server = http.server.HTTPServer(("127.0.0.1", port), H)
with open("pid", "w") as f: f.write(str(os.getpid()))
server.serve_forever()
`

// Single is a program that serves one connection at a time. Its files are in a folder of
// its own.
type Single struct {
	Dir  string
	Port int
	Args []string // of python3, which runs it there
}

// NewSingle writes a program that answers body, and at /health after pause seconds.
func NewSingle(dir, body string, pause float64) (Single, error) {
	port, err := stage.FreePort()
	if err != nil {
		return Single{}, err
	}
	s := Single{Dir: dir, Port: port, Args: []string{"app.py", strconv.Itoa(port), fmt.Sprint(pause), body}}
	return s, os.WriteFile(filepath.Join(dir, "app.py"), []byte(singleServer), 0o600)
}

// Start runs the program by itself.
func (s Single) Start() (*stage.Process, error) {
	return stage.Start(stage.Command{Name: "program", Path: "python3", Dir: s.Dir, Args: s.Args, LogFile: filepath.Join(s.Dir, "program.log")})
}

// Run runs it under `rollcall run` in f's pool, with more flags.
func (s Single) Run(f *stage.Fleet, flags ...string) (*stage.Process, error) {
	args := append([]string{"run", "--service", f.Service, "--port", strconv.Itoa(s.Port), "--health", "/health",
		"--join", f.Addresses.Gossip, "--fleet", f.Pool}, flags...)
	return stage.Start(stage.Command{Name: "run", Path: f.Binary, Dir: s.Dir, Args: append(append(args, "--", "python3"), s.Args...),
		LogFile: filepath.Join(s.Dir, "run.log")})
}

// PID is the program's, once it serves.
func (s Single) PID() (int, error) {
	b, err := os.ReadFile(filepath.Join(s.Dir, "pid"))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

// Checks is how often it was asked for its health.
func (s Single) Checks() (int, error) {
	b, err := os.ReadFile(filepath.Join(s.Dir, "checks"))
	if os.IsNotExist(err) {
		return 0, nil
	}
	return strings.Count(string(b), "\n"), err
}

// Answers waits until the program answers.
func (s Single) Answers(ctx context.Context) error {
	c := stage.NewClient(stage.Local(s.Port), false)
	return stage.Eventually(ctx, func(ctx context.Context) error {
		a := c.Get(ctx)
		if a.Err == nil && a.Status != 200 {
			return fmt.Errorf("status %d", a.Status)
		}
		return a.Err
	})
}
