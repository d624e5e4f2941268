package e2e

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/e2e/faults"
	"github.com/rollcall-fleet/rollcall/e2e/netns"
	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// The stranger has the key. It joins members that take anybody, and those tell the
// EDS server of it.
func TestWhoGossipsFromElsewhereIsNoMember(t *testing.T) {
	s := newSecrets(t)
	m := machinesOf(t, faults.Options{Members: s.member(), Server: []string{"--allow-cidr", "10.77.0.0/30"}, Spare: 1}, 2) // .1 to .3
	outside := m.Net.Addr(3)
	must(t, 0, m.Upstream(3, "--join", m.Net.Addr(1)+":7946"))
	must(t, 0, stage.Eventually(within(t, patience), func(ctx context.Context) error {
		n, err := metricOf(ctx, m.API, `rollcall_gossip_refused_total{cause="stranger"}`)
		if err == nil && n < 2 { // it, and what others say of it
			err = fmt.Errorf("%v strangers are counted", n)
		}
		return err
	}))
	keeps(t, m, 2*time.Second)
	must(t, 0, m.Has(within(t, patience), 2)) // and has nothing besides
	var got struct{ Members []struct{ Gossip string } }
	must(t, 0, m.API.Get(within(t, patience), "/members", &got))
	if len(got.Members) != 3 {
		t.Errorf("the members are %+v", got.Members)
	}
	for _, one := range got.Members {
		if one.Gossip == outside+":7946" {
			t.Errorf("%s is a member", outside)
		}
	}
}

// Each address of an EDS server is refused as soon as another machine could reach it,
// by a message that says what to pass, and is opened with --insecure, which is logged.
func TestAnAddressThatOthersReachIsOpenedOnPurposeOnly(t *testing.T) {
	t.Parallel()
	network := must2(netns.New(within(t, patience), 2))(t)
	t.Cleanup(func() { must(t, 0, network.Close()) })
	here := network.Addr(0)
	for flag, c := range map[string]struct{ port, lock string }{
		"--gossip": {"7946", "--gossip-key-file FILE (rollcall keygen gossip makes one)"},
		"--xds":    {"18000", "--xds-cert FILE --xds-key FILE --xds-client-ca FILE (rollcall certs init makes some for trying it out)"},
		"--http":   {"8080", "--http-cert FILE --http-key FILE with --http-tokens FILE (rollcall keygen token) or --http-client-ca FILE"},
	} {
		at := net.JoinHostPort(here, c.port)
		start := func(args ...string) *stage.Process {
			t.Helper()
			dir := t.TempDir()
			path, all := network.Command(0, binary, append([]string{"eds", flag, at, "--data-dir", dir}, args...)...)
			p := must2(stage.Start(stage.Command{Name: "eds " + flag, Path: path, Args: all, LogFile: filepath.Join(dir, "log")}))(t)
			t.Cleanup(p.Kill)
			return p
		}
		refused := start()
		_ = refused.Wait(within(t, patience))
		want := fmt.Sprintf("%s %s can be reached from other machines and nothing locks it: pass %s\nor pass a loopback address, or --insecure to let anybody in\n", flag, here, c.lock)
		if log := refused.Log(); refused.ExitCode() != 2 || !strings.Contains(log, want) {
			t.Errorf("%s: exit code %d, want 2 and %q:\n%s", flag, refused.ExitCode(), want, log)
		}

		opened := start("--insecure")
		must(t, 0, opened.Await(within(t, patience), func(ctx context.Context) error {
			conn, err := network.Dialer(1)(ctx, "tcp", at) // from the other machine
			if err == nil {
				err = conn.Close()
			}
			return err
		}))
		if log := opened.Log(); !strings.Contains(log, `level=WARN msg="address is open to every machine that can reach it, by --insecure" open="`+flag+" "+here+`" lock="`+c.lock) {
			t.Errorf("%s is opened without a warning:\n%s", flag, log)
		}
		must(t, 0, opened.Stop(within(t, patience)))
	}
}
