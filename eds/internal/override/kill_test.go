package override

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

const childEnv = "ROLLCALL_TEST_DECIDE_IN"

// TestMain turns this binary, when asked by its environment, into the process that is killed.
func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		if err := decideForever(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// decideForever has four writers decide about a host each, revoke every third time,
// and write a line for each answer.
func decideForever(path string) error {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: 10 * time.Second})
	if err != nil {
		return err
	}
	s, err := NewStore(db, Options{})
	if err != nil {
		return err
	}
	failed := make(chan error)
	var out sync.Mutex
	for i := range 4 {
		go func() {
			k := Key{Service: "s", Host: fmt.Sprintf("10.0.0.%d:80", i+1)}
			for n := 0; ; n++ {
				o, _, err := s.Edit(Edit{Key: k, Change: func(o Override, _ bool) (Override, error) { o.State = Drain; return o, nil }})
				if n%3 == 2 && err == nil {
					o, _, err = s.Revoke(k, "", "", nil)
				}
				if err != nil {
					failed <- err
					return
				}
				out.Lock()
				fmt.Println(k.Host, o.Stamp)
				out.Unlock()
			}
		}()
	}
	return <-failed
}

// A process is killed a hundred times while it writes: whatever it had answered is
// there, with its line in the audit, and the next process can go on.
func TestNoAnsweredWriteIsLostByAKill(t *testing.T) {
	rounds := 100
	if testing.Short() {
		rounds = 10
	}
	path := filepath.Join(t.TempDir(), "db")
	answered := make(map[string][]string) // the stamps, by host
	for range rounds {
		decideUntilKilled(t, path, answered)
	}
	s, _ := open(t, path)
	total := 0
	for host, stamps := range answered {
		last := s.all[Key{Service: "s", Host: host}].Stamp.String()
		if most := slices.Max(stamps); last < most {
			t.Errorf("%s is at %s, but %s was answered", host, last, most)
		}
		for _, text := range stamps {
			if stamp, err := ParseStamp(text); err != nil || !s.knows(stamp) {
				t.Errorf("%s was answered, and the audit does not know it", text)
			}
		}
		total += len(stamps)
	}
	if total < rounds {
		t.Errorf("only %d writes were answered", total)
	}
	t.Logf("%d answered writes", total)
}

// decideUntilKilled lets a process write for a moment and adds what it answered.
func decideUntilKilled(t *testing.T, path string, answered map[string][]string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var kill *time.Timer
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if kill == nil { // it writes
			kill = time.AfterFunc(rand.N(30*time.Millisecond), func() { _ = cmd.Process.Kill() })
		}
		host, stamp, _ := strings.Cut(lines.Text(), " ")
		if len(stamp) != stampText { // cut short by the kill
			break
		}
		answered[host] = append(answered[host], stamp)
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}
