package follow

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
	"github.com/rollcall-fleet/rollcall/eds/internal/xds"
	"github.com/rollcall-fleet/rollcall/fleet"
)

const typeV3 = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"

type mail struct {
	to uuid.UUID
	fleet.Receipt
}

// office is an xDS server with the receipts that come of it.
type office struct {
	t        *testing.T
	server   *xds.Server
	receipts *Receipts
	conn     *grpc.ClientConn
	sent     chan mail
	fail     chan error // taken by the next sends
	observed chan string
}

func newOffice(t *testing.T) *office {
	t.Helper()
	o := &office{t: t, server: xds.New(xds.Options{}), sent: make(chan mail, 100), fail: make(chan error, 100), observed: make(chan string, 100)}
	send := func(m *fleet.Member, r fleet.Receipt) error {
		select {
		case err := <-o.fail:
			return err
		default:
		}
		o.sent <- mail{m.ID, r}
		return nil
	}
	o.receipts = NewReceipts(o.server.Standings, o.server.Acked(), send, func(kind string, _ time.Duration) { o.observed <- kind }, slog.New(slog.DiscardHandler))
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if o.conn, err = grpc.NewClient(lis.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- o.server.Serve(ctx, lis) }()
	go func() { o.receipts.Run(ctx); done <- nil }()
	t.Cleanup(func() {
		_ = o.conn.Close()
		cancel()
		if err := errors.Join(<-done, <-done); err != nil {
			t.Error(err)
		}
	})
	return o
}

func backend(port uint16) fleet.Member {
	return fleet.Member{
		ID: uuid.New(), Role: fleet.RoleUpstream, Service: "myservice", Revision: 1, Liveness: fleet.Alive,
		Endpoint: fleet.Endpoint{Addr: netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), port), Weight: 1, Health: fleet.Healthy},
	}
}

// Update makes these the members. The healthy ones that are not refused are served.
func (o *office) update(of ...fleet.Member) {
	s := registry.Service{Name: "myservice"}
	var members []*fleet.Member
	for _, m := range of {
		members = append(members, &m)
		if m.Liveness == fleet.Alive && m.Endpoint.Health == fleet.Healthy && m.Quarantine == "" {
			s.Hosts = append(s.Hosts, &registry.Host{Endpoint: m.Endpoint, ID: m.ID.String(), Source: registry.Gossip, State: "healthy", Served: true})
		}
	}
	slices.SortFunc(s.Hosts, func(a, b *registry.Host) int { return a.Addr.Compare(b.Addr) })
	snap := &registry.Snapshot{Settled: true, Members: members, Services: []registry.Service{s}}
	o.server.Update(snap)
	o.receipts.Update(snap)
}

// envoy is a client that acknowledges on request.
type envoy struct {
	o      *office
	stream grpc.BidiStreamingClient[discoveryv3.DeltaDiscoveryRequest, discoveryv3.DeltaDiscoveryResponse]
}

func (o *office) envoy(id string) envoy {
	o.t.Helper()
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(o.conn).DeltaAggregatedResources(o.t.Context())
	if err != nil {
		o.t.Fatal(err)
	}
	e := envoy{o, stream}
	e.send(&discoveryv3.DeltaDiscoveryRequest{Node: &corev3.Node{Id: id}, ResourceNamesSubscribe: []string{"myservice"}})
	return e
}

func (e envoy) send(r *discoveryv3.DeltaDiscoveryRequest) {
	e.o.t.Helper()
	r.TypeUrl = typeV3
	if err := e.stream.Send(r); err != nil {
		e.o.t.Fatal(err)
	}
}

// take receives n responses and acknowledges them.
func (e envoy) take(n int) {
	e.o.t.Helper()
	for range n {
		e.accept(e.next())
	}
}

// next receives a response. Its client is known to the server from then on.
func (e envoy) next() (nonce string) {
	e.o.t.Helper()
	r, err := e.stream.Recv()
	if err != nil {
		e.o.t.Fatal(err)
	}
	return r.GetNonce()
}

func (e envoy) accept(nonce string) { e.send(&discoveryv3.DeltaDiscoveryRequest{ResponseNonce: nonce}) }

func (o *office) want(m fleet.Member, state fleet.ReceiptState, clients int) fleet.Receipt {
	o.t.Helper()
	select {
	case got := <-o.sent:
		if got.to != m.ID || got.State != state || got.Clients != clients || got.Revision != m.Revision {
			o.t.Fatalf("%+v was sent, want state %d of %d clients for revision %d of %s", got, state, clients, m.Revision, m.ID)
		}
		return got.Receipt
	case <-time.After(20 * time.Second):
		o.t.Fatalf("nothing was sent, want state %d", state)
		panic("not reached")
	}
}

func (o *office) silence(why string) {
	o.t.Helper()
	select {
	case got := <-o.sent:
		o.t.Fatalf("%s, and %+v was sent", why, got)
	case <-time.After(100 * time.Millisecond):
	}
}

// observes takes the changes that were measured.
func (o *office) observes(kinds ...string) {
	o.t.Helper()
	for _, want := range kinds {
		if got := <-o.observed; got != want {
			o.t.Errorf("a change of kind %s was observed, want %s", got, want)
		}
	}
}

// twoEnvoys have a, which gets a receipt.
func (o *office) twoEnvoys(a fleet.Member) (quick, slow envoy) {
	o.t.Helper()
	o.update(a)
	quick, slow = o.envoy("quick"), o.envoy("slow")
	first, second := quick.next(), slow.next()
	quick.accept(first)
	slow.accept(second)
	o.want(a, fleet.ReceiptServing, 2)
	return quick, slow
}

func drained(m fleet.Member) fleet.Member {
	m.Endpoint.Health = fleet.Draining
	m.Revision++
	return m
}

func TestMemberGetsReceiptsWhenEveryEnvoyHasItAndWhenNoneHas(t *testing.T) {
	o := newOffice(t)
	a, b := backend(1), backend(2)
	o.update(b)
	o.silence("no envoy is there")
	quick, slow := o.envoy("quick"), o.envoy("slow")
	first, second := quick.next(), slow.next()
	quick.accept(first)
	slow.accept(second)
	o.want(b, fleet.ReceiptServing, 2)
	o.update(a, b)
	quick.take(1)
	o.silence("one of two has it")
	slow.take(1)
	o.want(a, fleet.ReceiptServing, 2)

	a = drained(a)
	o.update(a, b)
	quick.take(1)
	r := o.want(a, fleet.ReceiptPending, 2)
	if !strings.Contains(r.Behind, "slow") {
		t.Errorf("behind are %q", r.Behind)
	}
	if err := slow.stream.CloseSend(); err != nil { // it goes half-way
		t.Fatal(err)
	}
	quick.take(1) // it is out
	for r.State == fleet.ReceiptPending {
		select {
		case got := <-o.sent:
			r = got.Receipt
		case <-time.After(20 * time.Second):
			t.Fatal("it is never told that it is gone")
		}
	}
	if r.State != fleet.ReceiptGone || r.Clients != 1 {
		t.Errorf("%+v was sent, want that one of one client has let go", r)
	}
	o.observes("serve", "serve", "drain")
}

func TestAnotherWeightIsAChangeOnceEveryEnvoyHasIt(t *testing.T) {
	o := newOffice(t)
	a := backend(1)
	quick, slow := o.twoEnvoys(a)
	a.Endpoint.Weight, a.Revision = 5, a.Revision+1
	o.update(a)
	quick.take(1)
	o.silence("one of two has its weight")
	slow.take(1)
	o.want(a, fleet.ReceiptServing, 2)
	o.observes("serve", "change")
}

func TestReceiptThatWasNotSentIsSentAgainAndCountsOnce(t *testing.T) {
	o := newOffice(t)
	a := backend(1)
	o.fail <- errors.New("lost")
	o.fail <- errors.New("lost again")
	o.update(a)
	o.envoy("envoy").take(1)
	o.want(a, fleet.ReceiptServing, 1)
	a.Revision++ // another announcement of the same state wants a receipt of its own
	o.update(a)
	o.want(a, fleet.ReceiptServing, 1)
	if n := len(o.observed); n != 1 {
		t.Errorf("one change was observed %d times", n)
	}
}

// No client gets a member that this server refuses; it waits for a receipt as long.
func TestRefusedMemberThatLeavesGetsAReceipt(t *testing.T) {
	o := newOffice(t)
	a := drained(backend(1))
	a.Quarantine = "it has not answered"
	o.update(a)
	o.want(a, fleet.ReceiptGone, 0)
}

func TestRefusedMemberLearnsTheReasonOnceAndIsServedWhenItIsFixed(t *testing.T) {
	o := newOffice(t)
	a := backend(1)
	refuse := func(why string) {
		a.Quarantine = why
		o.update(a)
	}
	refuse("it has not answered yet")
	o.silence("it is new")
	refuse("it is not at home")
	if r := o.want(a, fleet.ReceiptDenied, 0); r.Behind != "it is not at home" {
		t.Errorf("the reason is %q", r.Behind)
	}
	o.silence("it was told")
	a.Quarantine = ""
	o.update(a)
	o.envoy("envoy").take(1)
	o.want(a, fleet.ReceiptServing, 1)
}

func TestMemberThatNoEnvoyReceivedGetsItsReceiptAtOnce(t *testing.T) {
	o := newOffice(t)
	a := drained(backend(1))
	o.update(a)
	o.want(a, fleet.ReceiptGone, 0)
	a.Endpoint.Health, a.Revision = fleet.Healthy, a.Revision+1 // it thinks better of it
	e := o.envoy("envoy")
	e.take(1)
	o.update(a)
	e.take(1)
	o.want(a, fleet.ReceiptServing, 1)
}

func TestMemberThatIsLostIsMeasuredUntilNoEnvoyHasIt(t *testing.T) {
	o := newOffice(t)
	a := backend(1)
	quick, slow := o.twoEnvoys(a)
	if kind := <-o.observed; kind != "serve" {
		t.Fatalf("a change of kind %s was observed", kind)
	}
	a.Liveness = fleet.Dead
	o.update(a)
	quick.take(2) // it leaves, and is out
	o.silence("one of two has it")
	if n := len(o.observed); n != 0 {
		t.Errorf("%d changes were observed before the last client has acknowledged them", n)
	}
	slow.take(2)
	select {
	case kind := <-o.observed:
		if kind != "lose" {
			t.Errorf("a change of kind %s was observed", kind)
		}
	case <-time.After(20 * time.Second):
		t.Error("nothing was observed")
	}
	o.silence("nobody waits for a word")
}

// takeAll acknowledges every response until the test ends.
func (e envoy) takeAll() {
	go func() {
		for {
			r, err := e.stream.Recv()
			if err != nil || e.stream.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: typeV3, ResponseNonce: r.GetNonce()}) != nil {
				return
			}
		}
	}()
}

// A member may wait for the Envoys of an EDS server that was lost.
func TestLaterEnvoysAreCountedForALeavingMember(t *testing.T) {
	o := newOffice(t)
	a := backend(1)
	o.update(a)
	o.envoy("first").takeAll()
	o.want(a, fleet.ReceiptServing, 1)
	a = drained(a)
	o.update(a)
	o.want(a, fleet.ReceiptGone, 1)
	o.silence("nothing is new")
	o.envoy("second").takeAll()
	o.want(a, fleet.ReceiptGone, 2)
	o.silence("nothing is new since")
}
