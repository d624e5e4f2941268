package operator

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/rollcall-fleet/rollcall/client"
	"github.com/rollcall-fleet/rollcall/cmd/rollcall/cli"
)

// step is a run of rollcall, and what it has to say, or what its error has.
type step struct {
	args string
	code int
	says string
}

func (r *rig) play(steps ...step) {
	r.Helper()
	for _, s := range steps {
		got := rollcall(r.Context(), strings.Fields(s.args)...)
		said := got.out
		if got.err != nil {
			said = got.err.Error()
		}
		if got.code != s.code || !strings.Contains(said, s.says) {
			r.Errorf("rollcall %s: exit code %d, want %d, %q in\n%s", s.args, got.code, s.code, s.says, said)
		}
	}
}

func TestAnOperatorDecidesForOneHost(t *testing.T) {
	r := newRig(t)
	r.play(
		step{"drain web 1f0c0 --for 1h --reason disk", 0, "web " + firstID + ": drain by ann, 60m left: disk\nhealthy, not served\n"},
		step{"hosts web", 0, "127.0.0.1:8081  1f0c0000  10      z1    healthy  60m    no      0/0    an operator said so  drain by ann, 60m left: disk"},
		step{"services", 0, "web      auto  1 of 2  1          -"},
		step{"weight web 127.0.0.1:8082 5 --actor bob --for 7d", 0, "web 127.0.0.1:8082: weight 5 by bob, 7d left\nhealthy, served with weight 5\n"},
		step{"overrides web", 0, firstID + "  drain     ann  0s     60m left  disk"},
		step{"overrides other", 0, "ID  SERVICE  HOST  DECISION  BY  SINCE  ENDS  REASON\n"},
		step{"exclude web 127.0.0.1:8082 --for forever", 0, "exclude weight 5 by ann, until taken back"},
		step{"undrain web 127.0.0.1:8082", 0, "web 127.0.0.1:8082: weight 5 by ann, until taken back\nhealthy, served with weight 5\n"},
		step{"weight web 127.0.0.1:8082 auto", 0, "web 127.0.0.1:8082: nothing is decided\nhealthy, served with weight 10\n"},
		step{"force web 10.0.0.9:80", 0, "nobody has this address yet"},
		step{"undo web 10.0.0.9:80", 0, "web 10.0.0.9:80: nothing is decided any more\n"},
		step{"include web 1F0C0000", 0, firstID + ": nothing is decided\nhealthy, served with weight 10\n"},
		step{"audit --limit 3", 0, "revoked  web      " + firstID + "  -         drain   ann  -\n"},
		step{"members", 0, "1f0c0000  upstream  alive     60m    web      127.0.0.1:8081  healthy  10      127.0.0.1:7946  -\n"},
		step{"clients", 0, "NODE  TRANSPORT"},
	)
}

func TestWhatWentWrongIsInTheExitCode(t *testing.T) {
	r := newRig(t)
	r.play(
		step{"drain web", cli.ExitUsage, "give rollcall drain SERVICE HOST (see rollcall drain --help)"},
		step{"drain web 1f0", cli.ExitUsage, "neither a uuid, nor its first 4 or more characters, nor an ip:port"},
		step{"drain web web-1", cli.ExitUsage, "neither a uuid"},
		step{"drain web 1f0c", cli.ExitUsage, "begins the ids of 2 hosts: " + firstID + ", " + secondID},
		step{"drain web 1f0c0 --for 1parsec", cli.ExitUsage, "expires_in"},
		step{"weight web 1f0c0 65536", cli.ExitUsage, "give 1 to 65535, or auto"},
		step{"hosts -o xml", cli.ExitUsage, "none of table, json, yaml"},
		step{"hosts --server ftp://x", cli.ExitUsage, "--server"},
		step{"watch -o yaml", cli.ExitUsage, "use json"},
		step{"audit --limit 0", cli.ExitUsage, "--limit"},
		step{"audit --since yesterday", cli.ExitUsage, "since"},
		step{"hosts nobody", cli.ExitNotFound, "nobody"},
		step{"drain nobody 1f0c", cli.ExitNotFound, "nobody"},
		step{"drain web abcd", cli.ExitNotFound, `no host of service "web" has an id that begins with abcd`},
		step{"drain web 99990000-2222-4333-8444-555555555555", cli.ExitNotFound, "does not exist"},
		step{"undo web 1f0c0", cli.ExitNotFound, "no override exists"},
		step{"undo 0123456789abcdef", cli.ExitNotFound, "no override in force has the id"},
		step{"unpin web", cli.ExitNotFound, "no override exists"},
		step{"pin web 99990000-2222-4333-8444-555555555555", cli.ExitNotFound, "no host of service"},
		step{"keys add new.key", cli.ExitUsage, "--gossip-key-file of each member"},
		step{"keys use 0123 --without someone", cli.ExitUsage, "pass --yes"},
		step{"keys use zz", cli.ExitUsage, "not the beginning of a fingerprint"},
		step{"keys use 99", cli.ExitNotFound, "no key"},
		step{"keys remove 99", cli.ExitNotFound, "no key"},
		step{"keys use 01", cli.ExitConflict, "not all have it"},
		step{"services --token-file none", cli.ExitUsage, "--token-file"},
		step{"services --ca none", cli.ExitUsage, "none"},
		step{"services --cert none --key none", cli.ExitUsage, "none"},
	)
	r.Server.Close()
	r.play(step{"services", cli.ExitFailed, "(--server or ROLLCALL_SERVER says where it is)"})
}

func TestARefusalIsInTheExitCode(t *testing.T) {
	for status, want := range map[int]int{
		400: cli.ExitUsage, 401: cli.ExitFailed, 403: cli.ExitFailed, 404: cli.ExitNotFound, 409: cli.ExitConflict, 412: cli.ExitConflict,
		413: cli.ExitFailed, 421: cli.ExitFailed, 429: cli.ExitFailed, 500: cli.ExitFailed, 503: cli.ExitFailed, 507: cli.ExitFailed,
	} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(status)
		}))
		if got := rollcall(t.Context(), "overrides", "--server", s.URL); got.code != want || !strings.Contains(got.err.Error(), strconv.Itoa(status)) {
			t.Errorf("after %d the exit code is %d, want %d: %v", status, got.code, want, got.err)
		}
		s.Close()
	}
}

func TestWhoAsksAnotherServerIsToldSo(t *testing.T) {
	s := httptest.NewServer(http.NotFoundHandler())
	defer s.Close()
	for _, line := range []string{"hosts web", "drain web 10.0.0.9:80", "undrain web 10.0.0.9:80", "unpin web", "watch"} {
		got := rollcall(t.Context(), append(strings.Fields(line), "--server", s.URL)...)
		if got.code != cli.ExitFailed || !strings.Contains(got.err.Error(), "does not look like the HTTP API") || !strings.HasSuffix(got.err.Error(), "(--server or ROLLCALL_SERVER says where it is)") {
			t.Errorf("rollcall %s: exit code %d, %v", line, got.code, got.err)
		}
	}
}

func TestServicesCountAddressesAndDecisionsInForce(t *testing.T) {
	r := newRig(t)
	r.must("pin", "web", "1f0c0", "1f0cf")
	r.must("drain", "web", "10.0.0.9:80")
	r.play(step{"services", 0, "web      pin   2 of 2  2          -"})
}

func TestWhoWasFirstIsTold(t *testing.T) {
	r := newRig(t)
	r.play(
		step{"drain web 1f0c0 --if-match auto --reason disk", 0, "drain by ann"},
		step{"exclude web 1f0c0 --if-match auto --actor bob", cli.ExitConflict, "nothing was changed, somebody else was first: drain by ann, until taken back: disk"},
		step{"undo web 1f0c0 --if-match auto", cli.ExitConflict, "somebody else was first: drain by ann"},
		step{"undrain web 1f0c0 --if-match auto", cli.ExitConflict, "somebody else was first: drain by ann"},
		step{"exclude web 1f0c0 --if-match *", 0, "exclude by ann"},
		step{"exclude web 10.0.0.9:80 --if-match *", cli.ExitConflict, "nothing was changed: a decision was expected to be there, and nothing is decided"},
		step{"unpin web --if-match old", cli.ExitConflict, "somebody else was first: exclude by ann"},
	)
	list := r.overrides()
	r.play(
		step{"undo " + list[0].ID + " --if-match old", cli.ExitConflict, "somebody else was first: exclude by ann"},
		step{"undo " + list[0].ID, 0, list[0].ID + ": taken back\n"},
	)
}

func TestAGuardIsLetGo(t *testing.T) {
	r := newRig(t)
	r.play(
		step{"guards", 0, "SERVICE  HELD  SINCE  LETS GO\n"},
		step{"guards release web", 0, "web: the guard has let go\n"},
		step{"guards release other --actor bob", cli.ExitNotFound, `no guard is active for service "other"`},
		step{"audit", 0, "confirmed  web      -     -         -       ann  -\n"},
		step{"guards relaese web", cli.ExitUsage, `is it "release"?`},
	)
}

func TestAListIsDecidedOnlyWhileNothingIsIfThatIsAskedFor(t *testing.T) {
	r := newRig(t)
	r.play(
		step{"unpin web --if-match auto", cli.ExitNotFound, "no override exists"},
		step{"pin web 1f0c0 --if-match auto", 0, "not in the pinned list"},
		step{"pin web 1f0cf --if-match auto", cli.ExitConflict, "somebody else was first: pin by ann"},
		step{"unpin web --if-match auto", cli.ExitConflict, "somebody else was first: pin by ann"},
	)
}

func TestUndrainTakesBackWhatWasDecidedUnderEitherName(t *testing.T) {
	r := newRig(t)
	r.must("drain", "web", firstID)
	r.must("exclude", "web", "127.0.0.1:8081")
	if out := r.must("undrain", "web", firstID); !strings.Contains(out, "healthy, served with weight 10") {
		t.Errorf("it says %s", out)
	}
	if list := r.overrides(); len(list) > 0 {
		t.Errorf("in force are still %+v", list)
	}
}

func TestADecisionIsFoundByAPrefixWhenItsProcessIsNotShown(t *testing.T) {
	r := newRig(t)
	gone := "abcd0000-2222-4333-8444-555555555555"
	r.Members(member(gone, "web", 8084))
	r.must("drain", "web", gone)
	r.Members(member(firstID, "web", 8081))
	r.play(step{"undo web abcd", 0, gone + ": nothing is decided any more"})
}

func TestAPinnedHostKeepsItsTags(t *testing.T) {
	r := newRig(t)
	r.play(step{"pin web 1f0c0 10.0.0.9:80 --for 2h --reason deploy --probe", 0, "not in the pinned list"})
	list := r.overrides()
	if len(list) != 1 || len(list[0].Hosts) != 2 || list[0].Actor != "ann" || list[0].Reason != "deploy" || time.Until(list[0].Until) < time.Hour {
		t.Fatalf("in force is %+v", list)
	}
	unknown, known := list[0].Hosts[0], list[0].Hosts[1]
	if known.Tags.Weight != 10 || known.Tags.Further["version"] != "2" || known.Tags.AZ != "z1" || !known.Probe || unknown.Tags.Weight != 1 {
		t.Errorf("the list is %+v", list[0].Hosts)
	}
	r.play(
		step{"overrides", 0, "list of 2  pin       ann  0s     2h left  deploy"},
		step{"unpin web", 0, "web: the list is taken back\n"},
	)
}

func TestAListThatIsPinnedAnewKeepsItsEndAndItsReason(t *testing.T) {
	r := newRig(t)
	pinned := func(line string) client.Override {
		t.Helper()
		r.must(strings.Fields(line)...)
		list := r.overrides()
		if len(list) != 2 || list[0].Host != "" {
			t.Fatalf("%s: in force is %+v", line, list)
		}
		return list[0]
	}
	r.must("drain", "web", firstID, "--for", "1m", "--reason", "of the host alone")
	first := pinned("pin web 1f0c0 --for 2h --reason deploy")
	second := pinned("pin web 1f0c0 1f0cf")
	if len(second.Hosts) != 2 || !second.Until.Equal(first.Until) || first.Until.IsZero() || second.Reason != "deploy" {
		t.Errorf("until %s for %q it is pinned until %s for %q", first.Until, first.Reason, second.Until, second.Reason)
	}
	if third := pinned("pin web 1f0c0 --for 3h --reason disk"); !third.Until.After(first.Until) || third.Reason != "disk" {
		t.Errorf("given others it is pinned until %s for %q", third.Until, third.Reason)
	}
	if last := pinned("pin web 1f0c0 --for forever"); !last.Until.IsZero() || last.Reason != "disk" {
		t.Errorf("forever is until %s for %q", last.Until, last.Reason)
	}
}

func TestAPinIsRefusedWhenSomebodyDecidesMeanwhile(t *testing.T) {
	r := newRig(t)
	r.Before(func(req *http.Request) {
		if req.Method == http.MethodPut {
			r.Before(nil)
			r.must("drain", "web", secondID, "--actor", "bob")
		}
	})
	r.play(step{"pin web 1f0c0", cli.ExitConflict, "somebody else was first: drain by bob"})
}

func TestAScriptGetsWhatTheAPIAnswers(t *testing.T) {
	r := newRig(t)
	drained := r.must("drain", "web", firstID, "-o", "json")
	var decided client.Decided
	if err := json.Unmarshal([]byte(drained), &decided); err != nil || decided.Override == nil || decided.Override.State != client.Drain {
		t.Errorf("the answer is %s, %v", drained, err)
	}
	for args, path := range map[string]string{
		"services": "/edsservice", "hosts": "/edsservice", "hosts web": "/edsservice/web", "overrides": "/overrides",
		"audit": "/audit", "members": "/members", "clients": "/clients", "guards": "/guards",
	} {
		want := document(t, r.get(path), json.Unmarshal)
		fromJSON := document(t, []byte(r.must(append(strings.Fields(args), "-o", "json")...)), json.Unmarshal)
		fromYAML := document(t, []byte(r.must(append(strings.Fields(args), "-o", "yaml")...)), func(b []byte, into any) error { return yaml.Unmarshal(b, into) })
		if !reflect.DeepEqual(fromJSON, want) || !reflect.DeepEqual(fromYAML, want) {
			t.Errorf("rollcall %s answers\n%v and\n%v, the API\n%v", args, fromJSON, fromYAML, want)
		}
	}
	if out := r.must("undo", "web", firstID, "-o", "json"); out != "" {
		t.Errorf("an answer of nothing is %q", out)
	}
}

func (r *rig) get(path string) []byte {
	r.Helper()
	resp, err := r.Server.Client().Get(r.Server.URL + path)
	if err != nil {
		r.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.Fatal(err)
	}
	return b
}

func document(t *testing.T, b []byte, unmarshal func([]byte, any) error) (v any) {
	t.Helper()
	if err := unmarshal(b, &v); err != nil {
		t.Fatalf("%s: %v", b, err)
	}
	return v
}

func TestCompletionAsksTheServer(t *testing.T) {
	r := newRig(t)
	for args, want := range map[string][]string{
		"drain|":        {"other", "web"},
		"unpin|":        {"other", "web"},
		"hosts|":        {"other", "web"},
		"hosts|web|":    nil,
		"drain|other|":  {"127.0.0.1:8083\thealthy", otherID + "\t127.0.0.1:8083 healthy"},
		"drain|web|x|":  nil,
		"drain|gone|":   nil,
		"pin|other|x|":  {"127.0.0.1:8083\thealthy", otherID + "\t127.0.0.1:8083 healthy"},
		"hosts|-o|":     {"table", "json", "yaml"},
		"members|":      nil,
		"drain|--for|":  nil,
		"weight|other|": {"127.0.0.1:8083\thealthy", otherID + "\t127.0.0.1:8083 healthy"},
	} {
		out := r.must(append([]string{cobra.ShellCompRequestCmd}, strings.Split(args, "|")...)...)
		got := strings.Split(strings.TrimSpace(out), "\n")
		if last := len(got) - 1; got[last] != ":4" || !slices.Equal(got[:last], want) {
			t.Errorf("%s is completed by %q", args, got)
		}
	}
	r.Server.Close()
	if out := r.must(cobra.ShellCompRequestCmd, "drain", ""); out != ":4\n" {
		t.Errorf("without a server it is completed by %q", out)
	}
}

func TestCompletionDoesNotWaitForAServerThatHangs(t *testing.T) {
	r := newRig(t)
	release := make(chan struct{})
	defer close(release)
	r.Before(func(*http.Request) { <-release })
	begun := time.Now()
	if out := r.must(cobra.ShellCompRequestCmd, "drain", ""); out != ":4\n" || time.Since(begun) > 10*completionTimeout {
		t.Errorf("after %s it is completed by %q", time.Since(begun), out)
	}
}

func TestAServerThatHasNotSettledIsTold(t *testing.T) {
	r := newRig(t)
	for _, line := range []string{"hosts", "hosts web", "services", "hosts -o json"} {
		for _, settled := range []bool{true, false} {
			r.Settled(settled)
			var said bytes.Buffer
			root := newRoot()
			root.SetArgs(strings.Fields(line))
			root.SetOut(io.Discard)
			root.SetErr(&said)
			if err := root.ExecuteContext(t.Context()); err != nil || strings.Contains(said.String(), "has not settled yet") == settled {
				t.Errorf("rollcall %s, settled %t: it says %q, %v", line, settled, &said, err)
			}
		}
	}
}

func TestATokenThatEverybodyCanReadIsToldOf(t *testing.T) {
	r := newRig(t)
	path := filepath.Join(t.TempDir(), "ann.token")
	if err := errors.Join(os.WriteFile(path, []byte("secret"), 0o600), os.Chmod(path, 0o644)); err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	root := newRoot()
	root.SetArgs([]string{"services", "--token-file", path, "--server", r.Server.URL})
	root.SetOut(io.Discard)
	root.SetErr(&said)
	if err := root.ExecuteContext(t.Context()); err != nil || !strings.HasPrefix(said.String(), "rollcall: every user of this machine has access to --token-file "+path) {
		t.Errorf("it says %s, %v", &said, err)
	}
}
