// Package netns makes hosts on one machine: network namespaces with an address
// each, joined by a bridge in a namespace of its own, so that nothing of them
// reaches the machine's own network. Links can be cut and packets be lost. It
// wants root, ip and nft.
package netns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// prefix begins the name of every namespace made here; the process's id follows.
const prefix = "rollcall-"

// Net is a set of hosts. Its methods may be called from any goroutine.
type Net struct {
	name  string
	hosts int
}

var made atomic.Int32 // networks of this process, for their names

// New makes n hosts, numbered from 0, with the addresses 10.77.0.1 and on.
func New(ctx context.Context, n int) (*Net, error) {
	if err := check(); err != nil {
		return nil, err
	}
	sweep(ctx)
	net := &Net{name: fmt.Sprintf("%s%d-%d", prefix, os.Getpid(), made.Add(1)), hosts: n}
	if err := net.build(ctx); err != nil {
		return nil, errors.Join(err, net.Close())
	}
	return net, nil
}

// check says what is missing.
func check() error {
	if os.Geteuid() != 0 {
		return errors.New("network namespaces want root: run the tests as root")
	}
	for _, tool := range []string{"ip", "nft"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("network namespaces want the program %s (Debian: iproute2, nftables): %w", tool, err)
		}
	}
	return nil
}

func (n *Net) build(ctx context.Context) error {
	bridge := n.bridge()
	steps := []string{"netns add " + bridge, "-n " + bridge + " link add br0 type bridge", "-n " + bridge + " link set br0 up"}
	for i := range n.hosts {
		ns, port := n.Namespace(i), fmt.Sprintf("port%d", i)
		steps = append(steps, "netns add "+ns,
			fmt.Sprintf("-n %s link add eth0 type veth peer name %s netns %s", ns, port, bridge),
			fmt.Sprintf("-n %s link set %s master br0 up", bridge, port),
			fmt.Sprintf("-n %s addr add %s/24 dev eth0", ns, n.Addr(i)),
			fmt.Sprintf("-n %s link set lo up", ns), fmt.Sprintf("-n %s link set eth0 up", ns))
	}
	for _, step := range steps {
		if err := run(ctx, "ip", strings.Fields(step)...); err != nil {
			return err
		}
	}
	return nil
}

func (n *Net) bridge() string { return n.name + "-br" }

// Namespace is the name of host i's.
func (n *Net) Namespace(i int) string { return n.name + "-" + strconv.Itoa(i) }

// Addr is host i's IP address.
func (n *Net) Addr(i int) string { return fmt.Sprintf("10.77.0.%d", i+1) }

// Command is a program with its arguments as it is to be started to run on host i.
func (n *Net) Command(i int, program string, args ...string) (string, []string) {
	return "ip", append([]string{"netns", "exec", n.Namespace(i), program}, args...)
}

// Cut takes host i's link down, or up again.
func (n *Net) Cut(ctx context.Context, i int, cut bool) error {
	state := "up"
	if cut {
		state = "down"
	}
	return run(ctx, "ip", "-n", n.bridge(), "link", "set", fmt.Sprintf("port%d", i), state)
}

// Lose drops a share of all packets that reach host i, in percent, at random; 0
// ends it.
func (n *Net) Lose(ctx context.Context, i, percent int) error {
	rules := "table inet loss\ndelete table inet loss\n"
	if percent > 0 {
		rules += fmt.Sprintf("table inet loss { chain in { type filter hook input priority 0; iifname \"eth0\" numgen random mod 100 < %d drop; }; }\n", percent)
	}
	return n.nft(ctx, i, rules)
}

// Reject has a firewall on host i refuse its TCP connections to the given ports of others,
// with "tcp reset" or "icmp port-unreachable"; "" ends it. UDP passes.
func (n *Net) Reject(ctx context.Context, i int, with string, ports ...int) error {
	if with != "" {
		with = "reject with " + with
	}
	return n.filter(ctx, i, with, ports)
}

// Drop has it drop what they send instead.
func (n *Net) Drop(ctx context.Context, i int, ports ...int) error {
	return n.filter(ctx, i, "drop", ports)
}

func (n *Net) filter(ctx context.Context, i int, verdict string, ports []int) error {
	rules := "table inet refuse\ndelete table inet refuse\n"
	if verdict != "" {
		list := strings.Trim(strings.ReplaceAll(fmt.Sprint(ports), " ", ","), "[]")
		family := ""
		if strings.Contains(verdict, "icmp") {
			family = "meta nfproto ipv4 "
		}
		rules += fmt.Sprintf("table inet refuse { chain out { type filter hook output priority 0; oifname \"eth0\" %stcp dport { %s } %s; }; }\n", family, list, verdict)
	}
	return n.nft(ctx, i, rules)
}

// Part drops everything between host i and others, whose links to the rest stay; without
// others it ends that.
func (n *Net) Part(ctx context.Context, i int, others ...int) error {
	rules := "table inet part\ndelete table inet part\n"
	if len(others) > 0 {
		addrs := make([]string, len(others))
		for k, other := range others {
			addrs[k] = n.Addr(other)
		}
		list := strings.Join(addrs, ", ")
		rules += fmt.Sprintf("table inet part { chain in { type filter hook input priority 0; ip saddr { %s } drop; }; chain out { type filter hook output priority 0; ip daddr { %[1]s } drop; }; }\n", list)
	}
	return n.nft(ctx, i, rules)
}

// nft loads rules on host i.
func (n *Net) nft(ctx context.Context, i int, rules string) error {
	cmd := exec.CommandContext(ctx, "ip", "netns", "exec", n.Namespace(i), "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(rules)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("nft on host %d: %w: %s", i, err, out)
	}
	return nil
}

// Dialer dials from host i. The socket belongs to that host for good, so its
// connections are used from here.
func (n *Net) Dialer(i int) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		type result struct {
			conn net.Conn
			err  error
		}
		done := make(chan result, 1)
		go func() {
			runtime.LockOSThread() // for good: the thread is not fit for anything else
			if err := enter(n.Namespace(i)); err != nil {
				done <- result{err: err}
				return
			}
			var d net.Dialer
			conn, err := d.DialContext(ctx, network, address)
			done <- result{conn, err}
		}()
		r := <-done
		return r.conn, r.err
	}
}

func enter(namespace string) error {
	f, err := os.Open("/run/netns/" + namespace)
	if err != nil {
		return err
	}
	defer f.Close()
	return os.NewSyscallError("setns", unix.Setns(int(f.Fd()), unix.CLONE_NEWNET))
}

// Close removes all of it. What still runs on the hosts loses its network when it
// ends.
func (n *Net) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var errs []error
	for i := range n.hosts {
		errs = append(errs, remove(ctx, n.Namespace(i)))
	}
	return errors.Join(append(errs, remove(ctx, n.bridge()))...)
}

func remove(ctx context.Context, namespace string) error {
	if _, err := os.Stat("/run/netns/" + namespace); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return run(ctx, "ip", "netns", "del", namespace)
}

// sweep removes what processes left behind that are gone.
func sweep(ctx context.Context) {
	entries, err := os.ReadDir("/run/netns")
	if err != nil {
		return // there are none
	}
	for _, e := range entries {
		rest, ours := strings.CutPrefix(e.Name(), prefix)
		pid, err := strconv.Atoi(strings.SplitN(rest, "-", 2)[0])
		if ours && err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = remove(ctx, e.Name()) // another process may sweep too
		}
	}
}

func run(ctx context.Context, program string, args ...string) error {
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}
