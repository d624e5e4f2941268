package e2e

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// readmeCommands names, for each command that README.md tells a reader to type,
// the test that does what it says. A trailing comment is not part of a command; a
// line that ends with a backslash goes on in the next.
var readmeCommands = map[string]string{
	"make demo":                    "TestDemoStaysUpUntilInterrupted",
	"make demo ARGS=--once":        "TestDemoPlaysTheWholeStory",
	"make test":                    "TestMain",
	"make build envoy":             "TestFourTerminals",
	`export PATH="$PWD/bin:$PATH"`: "TestFourTerminals",
	"rollcall eds":                 "TestFourTerminals",
	"rollcall upstream -p 8081":    "TestFourTerminals",
	"rollcall envoy run":           "TestFourTerminals",
	"curl -v localhost:10000/":     "TestFourTerminals",

	`curl -X POST localhost:8080/edsservice/myservice -H 'content-type: application/json' -d '{"hosts":[{"ip_address":"127.0.0.1","port":8081,"tags":{"az":"us-central1-a","canary":false,"load_balancing_weight":50}}]}'`: "TestReadmeOverruling",

	`curl -X PUT localhost:8080/edsservice/myservice -H 'content-type: application/json' -d '{"hosts":[]}'`: "TestReadmeOverruling",
	"curl -X DELETE localhost:8080/edsservice/myservice":                                                    "TestReadmeOverruling",

	`curl -X PATCH localhost:8080/edsservice/myservice/hosts/127.0.0.1:8081 -H 'content-type: application/json' -d '{"state":"drain","expires_in":"1h","reason":"disk errors"}'`: "TestReadmeOverruling",
	"curl -X DELETE localhost:8080/edsservice/myservice/hosts/127.0.0.1:8081":                                                                                                    "TestReadmeOverruling",

	"rollcall run --service myservice --port 9000 --health /health -- python3 app.py": "TestReadmePrograms",
	"rollcall eds --allow-address 10.0.0.9":                                           "TestReadmeRegister",
	"rollcall register --service db --address 10.0.0.9:5432 --health tcp":             "TestReadmeRegister",

	"go mod init example.org/hello":                                       "TestReadmePrograms",
	"go mod edit -replace github.com/rollcall-fleet/rollcall=../rollcall": "TestReadmePrograms",
	"go mod tidy": "TestReadmePrograms",
	"go run .":    "TestReadmePrograms",

	"(umask 077; rollcall keygen gossip > gossip.key)": "TestReadmeMoreThanOneMachine",
	"rollcall certs init --dir certs --host 10.0.0.5":  "TestReadmeMoreThanOneMachine",
	"rollcall eds --gossip 10.0.0.5:7946 --gossip-key-file gossip.key --xds 10.0.0.5:18000 --xds-cert certs/eds.pem --xds-key certs/eds-key.pem --xds-client-ca certs/ca.pem": "TestReadmeMoreThanOneMachine",
	"rollcall upstream -p 8081 --address 10.0.0.7 --gossip 10.0.0.7:7946 --join 10.0.0.5 --gossip-key-file gossip.key":                                                        "TestReadmeMoreThanOneMachine",
	"rollcall envoy run --eds 10.0.0.5:18000 --tls-ca certs/ca.pem --tls-cert certs/envoy.pem --tls-key certs/envoy-key.pem":                                                  "TestReadmeMoreThanOneMachine",
}

// fenced returns the text of a page's code blocks in a language.
func fenced(t *testing.T, page, language string) []string {
	t.Helper()
	readme := string(must2(os.ReadFile("../" + page))(t))
	var blocks []string
	for i, part := range strings.Split("\n"+readme, "\n```") {
		// Every second part is inside a block and begins with its language.
		if head, body, _ := strings.Cut(part, "\n"); i%2 == 1 && head == language {
			blocks = append(blocks, body)
		}
	}
	return blocks
}

// readmeLines returns the commands in README.md's sh blocks, in order.
func readmeLines(t *testing.T) []string {
	t.Helper()
	return commandsOf(t, "README.md")
}

// commandsOf returns the commands in a page's sh blocks, in order.
func commandsOf(t *testing.T, page string) []string {
	t.Helper()
	var commands []string
	for _, block := range fenced(t, page, "sh") {
		for line := range strings.Lines(strings.ReplaceAll(block, "\\\n", " ")) {
			line, _, _ = strings.Cut(line, " # ")
			if line = strings.Join(strings.Fields(line), " "); line != "" && line[0] != '#' {
				commands = append(commands, line)
			}
		}
	}
	return commands
}

// readmeStarting returns the commands of README.md that begin with prefix.
func readmeStarting(t *testing.T, prefix string) []string {
	t.Helper()
	lines := slices.DeleteFunc(readmeLines(t), func(line string) bool { return !strings.HasPrefix(line, prefix) })
	if len(lines) == 0 {
		t.Fatalf("README.md has no command that begins with %q", prefix)
	}
	return lines
}

func TestReadmeCommandsAreCovered(t *testing.T) {
	t.Parallel()
	tests := testNames(t)
	lines := readmeLines(t)
	for _, line := range lines {
		if readmeCommands[line] == "" {
			t.Errorf("README.md has a command that no test in readmeCommands covers:\n%s", line)
		}
	}
	for command, test := range readmeCommands {
		if !slices.Contains(lines, command) {
			t.Errorf("readmeCommands has a command that README.md has no more:\n%s", command)
		}
		if !tests[test] {
			t.Errorf("readmeCommands names %s, which is not a test here", test)
		}
	}
}

// testNames returns the functions in this package's test files.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	names := make(map[string]bool)
	for _, file := range must2(filepath.Glob("*_test.go"))(t) {
		parsed := must2(parser.ParseFile(token.NewFileSet(), file, nil, 0))(t)
		for _, decl := range parsed.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok {
				names[f.Name.Name] = true
			}
		}
	}
	return names
}

// curl does what a curl command line of a page says: -X, -H and -d are known, and -i
// makes no difference here.
func curl(t *testing.T, line string) (int, string) {
	t.Helper()
	method, url, header, body := http.MethodGet, "", http.Header{}, ""
	words := shellWords(line)
	for i := 1; i < len(words); i++ {
		switch words[i] {
		case "-X":
			i++
			method = words[i]
		case "-H":
			i++
			name, value, _ := strings.Cut(words[i], ":")
			header.Set(name, strings.TrimSpace(value))
		case "-d":
			i++
			body = words[i]
		case "-i":
		default:
			url = "http://" + words[i]
		}
	}
	req := must2(http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body)))(t)
	req.Header = header
	resp := must2(http.DefaultClient.Do(req))(t)
	defer resp.Body.Close()
	return resp.StatusCode, string(must2(io.ReadAll(resp.Body))(t))
}

// shellWords splits a line at blanks that are not between single quotes.
func shellWords(line string) []string {
	var words []string
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			words = append(words, part)
		} else {
			words = append(words, strings.Fields(part)...)
		}
	}
	return words
}

func TestReadmeOverruling(t *testing.T) {
	wellKnown(t)
	home := t.TempDir()
	eds := terminal(t, home, "rollcall eds")
	api := stage.NewAPI(stage.WellKnown().HTTP)
	if err := eds.Await(within(t, patience), api.Ready); err != nil {
		t.Fatal(err)
	}
	want := map[string]int{"PATCH": http.StatusOK, "POST": http.StatusCreated, "PUT": http.StatusOK, "DELETE": http.StatusNoContent}
	for _, line := range readmeStarting(t, "curl -X") {
		method := strings.Fields(line)[2]
		if status, body := curl(t, line); status != want[method] {
			t.Errorf("%s\nstatus %d, want %d: %s", line, status, want[method], body)
		}
	}
}

// TestReadmeOwnBootstrap holds the clusters that README.md shows against the sample that
// TestSampleFilesWorkWithTheDefaultPorts runs.
func TestReadmeOwnBootstrap(t *testing.T) {
	blocks := fenced(t, "README.md", "yaml")
	if len(blocks) != 1 {
		t.Fatalf("README.md has %d yaml blocks, this test knows of one", len(blocks))
	}
	_, sample, _ := strings.Cut(string(must2(os.ReadFile("../envoy/own.yaml"))(t)), "\n  clusters:\n")
	want := strings.TrimSuffix(strings.ReplaceAll("\n  clusters:\n"+sample, "\n  ", "\n"), "\n")
	if got := "\n" + blocks[0]; got != want {
		t.Errorf("README.md shows\n%s\nand envoy/own.yaml has\n%s", got, want)
	}
}
