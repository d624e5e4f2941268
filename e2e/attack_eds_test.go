package e2e

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/rollcall-fleet/rollcall/envoy"
	words "github.com/rollcall-fleet/rollcall/fleet"
	"github.com/rollcall-fleet/rollcall/gossip"
	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
	"github.com/rollcall-fleet/rollcall/internal/keyfile"
)

// secrets are the files of a pool with a gossip key, which every member has, and a
// key of the EDS servers.
type secrets struct {
	dir string
	raw []byte // the gossip key
}

func newSecrets(t *testing.T) secrets {
	t.Helper()
	s := secrets{dir: t.TempDir()}
	key := must2(gossip.NewKey())(t)
	s.raw = must2(base64.StdEncoding.DecodeString(key))(t)
	private, public, err := keyfile.NewEDS()
	must(t, 0, err)
	for name, text := range map[string]string{"gossip.key": key, "eds.key": private, "eds.pub": public} {
		must(t, 0, os.WriteFile(filepath.Join(s.dir, name), []byte(text+"\n"), 0o600))
	}
	return s
}

func (s secrets) member() []string {
	return []string{"--gossip-key-file", filepath.Join(s.dir, "gossip.key")}
}

func (s secrets) server() []string {
	return append(s.member(), "--eds-key", filepath.Join(s.dir, "eds.key"))
}

func (s secrets) wary() []string {
	return append(s.member(), "--eds-pub", filepath.Join(s.dir, "eds.pub"))
}

// impostor is a member that has the gossip key and says that it is an EDS server, of
// this id.
func (h *harness) impostor(s secrets, id uuid.UUID, seeds ...string) *gossip.Pool {
	h.t.Helper()
	p, err := gossip.Start(gossip.Options{
		Member: words.Member{ID: id, Role: words.RoleEDS, Started: time.Now(), Version: words.FormatVersion},
		Fleet:  h.Pool, Bind: netip.MustParseAddrPort("127.0.0.1:0"), Keys: [][]byte{s.raw}, Seeds: seeds, Logger: slog.New(slog.DiscardHandler),
	})
	must(h.t, p, err)
	h.t.Cleanup(func() { _ = p.Close() })
	return p
}

// gossiping starts an upstream that gossips at an address known beforehand.
func (h *harness) gossiping(args ...string) (*stage.Upstream, words.Member) {
	h.t.Helper()
	at := stage.Local(must2(stage.FreePort())(h.t))
	u := h.upstream(append(args, "--gossip", at)...)
	return u, words.Member{ID: uuid.MustParse(u.ID), Gossip: netip.MustParseAddrPort(at)}
}

// serverAt is the EDS server that gossips at addr, as api has it.
func serverAt(t *testing.T, api *stage.API, addr string) words.Member {
	t.Helper()
	var got struct {
		Members []struct{ ID, Gossip, Role string }
	}
	must(t, 0, api.Get(within(t, patience), "/members", &got))
	for _, m := range got.Members {
		if m.Gossip == addr && m.Role == string(words.RoleEDS) {
			return words.Member{ID: uuid.MustParse(m.ID), Gossip: netip.MustParseAddrPort(addr)}
		}
	}
	t.Fatalf("no EDS server gossips at %s: %+v", addr, got)
	return words.Member{}
}

const unsigned = "not signed with the EDS servers' key"

func TestADrainWaitsForNoImpostor(t *testing.T) {
	t.Parallel()
	for name, wary := range map[string]bool{"with --eds-pub": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, s := newHarness(t), newSecrets(t)
			h.eds(s.server()...)
			args := append(s.member(), "--drain-timeout", "3s")
			if wary {
				args = append(s.wary(), "--drain-timeout", "10m")
			}
			u, self := h.gossiping(args...)
			fake := h.impostor(s, uuid.New(), self.Gossip.String())
			id := fake.Self().ID.String()
			h.eventually("the impostor joins", func(context.Context) error {
				if i, ok := words.FindMember(fake.Members(), self.ID); !ok || fake.Members()[i].Liveness != words.Alive {
					return fmt.Errorf("it sees %+v", fake.Members())
				}
				return nil
			})
			must(t, 0, fake.SendReceipt(&self, words.Receipt{Revision: 1, State: words.ReceiptServing, Clients: 77}))
			if wary {
				h.logs(u.Process, "member is quarantined", id)
				h.logs(u.Process, "ignored a message", unsigned)
			} else {
				h.logs(u.Process, `msg="endpoint in service" envoys=77 `, id)
			}
			h.envoy(envoy.GRPC)
			h.serves(u)

			must(t, 0, u.Stop(within(t, patience)))
			log := u.Log()
			waited := strings.Contains(log, "drain incomplete: stopping anyway") && strings.Contains(log, id+" has not answered")
			drained := strings.Contains(log, "msg=drained")
			if waited == wary || drained != wary {
				t.Errorf("it waited for the impostor: %t, it drained: %t:\n%s", waited, drained, log)
			}
			if wary && strings.Contains(log, "77 Envoys") {
				t.Error("the impostor's receipt is believed")
			}
		})
	}
}

// The EDS server stands still while an impostor says in its name that no Envoy has
// the upstream any more.
func TestNobodySaysInAnEDSServersNameThatADrainIsOver(t *testing.T) {
	t.Parallel()
	for name, wary := range map[string]bool{"with --eds-pub": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, s := newHarness(t), newSecrets(t)
			eds := h.eds(s.server()...)
			h.envoy(envoy.GRPC)
			args := append(s.member(), "--drain-timeout", "10m")
			if wary {
				args = append(s.wary(), "--drain-timeout", "2s") // shorter than the server's silence takes to be noticed
			}
			u, self := h.gossiping(args...)
			h.serves(u)
			server := serverAt(t, h.API, h.Addresses.Gossip)
			fake := h.impostor(s, server.ID)

			must(t, 0, eds.Signal(syscall.SIGSTOP))
			must(t, 0, fake.SendReceipt(&self, words.Receipt{Revision: 1 << 40, State: words.ReceiptGone}))
			if wary {
				h.logs(u.Process, "ignored a message", unsigned)
			}
			must(t, 0, u.Stop(within(t, patience)))
			log := u.Log()
			waited := strings.Contains(log, "drain incomplete: stopping anyway") && strings.Contains(log, server.ID.String()+" has not answered")
			if drained := strings.Contains(log, "msg=drained"); waited != wary || drained == wary {
				t.Errorf("it waited for the EDS server: %t, it drained: %t:\n%s", waited, drained, log)
			}
		})
	}
}

// exclusion is a decision that a host is not served, as EDS servers send it to each
// other.
func exclusion(t *testing.T, service, host string, by uuid.UUID) []byte {
	t.Helper()
	now := time.Now()
	list := must2(json.Marshal([]map[string]any{{
		"Service": service, "Host": host, "State": "exclude", "Since": now.UTC(), "Actor": "impostor", "Hosts": nil,
		"Stamp": fmt.Sprintf("%012x-%08x-%s", now.UnixMilli(), 0, hex.EncodeToString(by[:])),
	}}))(t)
	return append([]byte{4}, list...) // share's kindOverrides
}

func TestOnlyServersWithTheKeyShareWhatOperatorsDecide(t *testing.T) {
	t.Parallel()
	const forged, real = "10.9.9.1:80", "10.9.9.2:80"
	for name, locked := range map[string]bool{"with --eds-key": true, "without": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, s := newHarness(t), newSecrets(t)
			args := s.member()
			if locked {
				args = s.server()
			}
			first := h.eds(args...)
			h.envoy(envoy.GRPC, "--no-retries")
			u := h.upstream(s.member()...)
			h.serves(u)
			at, second := h.another(args...)
			_, third := h.another(s.member()...) // an EDS server all but for the key

			decide(t, third, http.MethodPut, "/edsservice/"+h.Service, `{"hosts":[]}`)
			if !locked {
				h.decided("list")
				h.servesNobody()
			}
			fake := h.impostor(s, serverAt(t, h.API, at.Gossip).ID) // sends in the second one's name
			must(t, 0, fake.Share(new(serverAt(t, h.API, h.Addresses.Gossip)), exclusion(t, h.Service, forged, fake.Self().ID)))
			if !locked {
				h.decided(forged, "list")
				return
			}
			h.logs(first, "ignored a message", unsigned)
			// Made after the others, and on the same ways.
			decide(t, second, http.MethodPatch, "/edsservice/"+h.Service+"/hosts/"+real, `{"state":"exclude"}`)
			h.decided(real)
			load := h.load()
			h.isUnderWay(load)
			h.noneFailed(load)
			h.decided(real)
			h.serves(u)
		})
	}
}

// another starts one more EDS server, and waits until it is ready.
func (h *harness) another(args ...string) (stage.Addresses, *stage.API) {
	h.t.Helper()
	at := must2(stage.Fresh())(h.t)
	p := must2(h.StartEDSAt(at, append(args, "--join", h.Addresses.Gossip)...))(h.t)
	api := stage.NewAPI(at.HTTP)
	must(h.t, 0, p.Await(within(h.t, patience), api.Ready))
	return at, api
}

func decide(t *testing.T, api *stage.API, method, path, body string) {
	t.Helper()
	if status, answer, err := api.Do(within(t, patience), method, path, body); err != nil || status/100 != 2 {
		t.Fatalf("%s %s: status %d, %s, error %v", method, path, status, answer, err)
	}
}

// decided waits until the first EDS server has decisions about these hosts, and a
// list if so, and no others.
func (h *harness) decided(want ...string) {
	h.t.Helper()
	h.eventually("what is decided", func(ctx context.Context) error {
		var all struct{ Overrides []struct{ Host string } }
		err := h.API.Get(ctx, "/overrides", &all)
		var got []string
		for _, o := range all.Overrides {
			got = append(got, cmp.Or(o.Host, "list"))
		}
		if slices.Sort(got); err == nil && !slices.Equal(got, want) {
			err = fmt.Errorf("it is about %q, want %q", got, want)
		}
		return err
	})
}
