package xds

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/rollcall-fleet/rollcall/eds/internal/registry"
)

const (
	hostA = "10.0.0.1:80"
	hostB = "10.0.0.2:80"
	hostC = "10.0.0.3:80"
)

func TestStreamIsSilentUntilSettled(t *testing.T) {
	onEachStream(t, func(t *testing.T, s *running, c subscriber) {
		s.Update(unsettled(service("web", hostA)))
		c.subscribe("web", "nobody")
		s.eventually(t, "subscribed", subscribed("nobody", "web"))
		s.Update(unsettled(service("web", hostA, hostB)))
		s.Update(settled(service("web", hostA, hostB, hostC)))
		next(t, c, "1", "nobody:", "web: "+hostA+", "+hostB+", "+hostC)
	})
}

func TestChangeIsPushedAndEqualContentIsNot(t *testing.T) {
	onEachStream(t, func(t *testing.T, s *running, c subscriber) {
		s.Update(settled(service("web", hostA)))
		c.subscribe("web")
		c.ack(next(t, c, "1", "web: "+hostA))
		s.eventually(t, "acknowledged", acked("web"))
		s.Update(settled(service("web", hostA)))
		s.Update(settled(service("other", hostC), service("web", hostA)))
		s.Update(settled(service("web", hostA, hostB)))
		c.ack(next(t, c, "2", "web: "+hostA+", "+hostB))
		s.Update(settled())
		c.ack(next(t, c, "3", "web:"))
		s.Update(settled(service("web")))
		s.Update(settled(service("web", hostC)))
		next(t, c, "4", "web: "+hostC)
	})
}

func TestUnknownServiceIsEmptyUntilItExists(t *testing.T) {
	onEachStream(t, func(t *testing.T, s *running, c subscriber) {
		s.Update(settled())
		c.subscribe("web")
		c.ack(next(t, c, "1", "web:"))
		s.Update(settled(service("web", hostA)))
		next(t, c, "2", "web: "+hostA)
	})
}

// Envoy acknowledges removed_resources, and an answer that leaves a service out, and
// continues to send requests to the endpoints that it has (1.36 and 1.40).
func TestServiceIsEmptiedOnlyByAnEmptyAssignment(t *testing.T) {
	for how, after := range map[string]*registry.Snapshot{
		"without hosts": settled(service("web"), service("api", hostC)), "vanished": settled(service("api", hostC)),
	} {
		t.Run(how, func(t *testing.T) {
			onEachStream(t, func(t *testing.T, s *running, c subscriber) {
				s.Update(settled(service("web", hostA, hostB), service("api", hostC)))
				c.subscribe("web")
				c.ack(next(t, c, "1", "web: "+hostA+", "+hostB))
				version := s.poll(t, "", "web: "+hostA+", "+hostB)
				s.Update(after)
				c.ack(next(t, c, "2", "web:")) // recv fails on removed_resources
				s.poll(t, version, "web:")
			})
		})
	}
}

func TestNACKIsNotAnsweredWithTheSameContent(t *testing.T) {
	onEachStream(t, func(t *testing.T, s *running, c subscriber) {
		s.Update(settled(service("web", hostA)))
		c.subscribe("web")
		first := next(t, c, "1", "web: "+hostA)
		c.nack(first, "no such port")
		client := s.eventually(t, "rejected", func(c Client) bool { return c.NACK != nil })
		if client.NACK.Detail != "no such port" || client.NACK.Version != first.version || client.NACK.At.IsZero() {
			t.Errorf("the NACK is %+v", client.NACK)
		}
		if client.Services[0].Acked != "" || client.Services[0].AckedSeq != 0 {
			t.Errorf("a NACK acknowledged something: %+v", client.Services[0])
		}
		c.nack(first, "no such port")
		s.Update(settled(service("web", hostA)))
		s.Update(settled(service("web", hostB)))
		c.ack(next(t, c, "2", "web: "+hostB))
		s.eventually(t, "acknowledged", acked("web"))
	})
}

func TestSlowStreamReceivesTheLatestAndDelaysNoOther(t *testing.T) {
	onEachStream(t, func(t *testing.T, s *running, c subscriber) {
		quick := openEDS(t, s.conn) // over the same connection
		s.Update(settled(crowd(1_500, 1), service("web", hostA)))
		c.subscribe("crowd") // and does not read: one assignment is larger than the window of a stream
		quick.subscribe("web")
		quick.ack(next(t, quick, "1", "web: "+hostA))
		for i := range 5 {
			addr := fmt.Sprintf("10.0.0.1:%d", i+100)
			s.Update(settled(crowd(1_500, uint32(i+2)), service("web", addr)))
			quick.ack(next(t, quick, fmt.Sprint(i+2), "web: "+addr))
		}
		s.Update(settled(service("crowd", hostC)))
		r, err := c.recv()
		must(t, err)
		if n := len(r.hosts["crowd"]); n != 1_500 {
			t.Fatalf("the reply that waited has %d hosts", n)
		}
		c.ack(r)
		next(t, c, "2", "crowd: "+hostC)
	})
}

func TestStateOfTheWorldContainsEveryNameAsked(t *testing.T) {
	s := start(t, Options{})
	c := openEDS(t, s.conn)
	s.Update(settled(service("api", hostA), service("web", hostB)))
	c.subscribe("web", "api")
	c.ack(next(t, c, "1", "api: "+hostA, "web: "+hostB))
	s.eventually(t, "acknowledged", acked("api"))
	s.Update(settled(service("api", hostC), service("web", hostB)))
	c.ack(next(t, c, "2", "api: "+hostC, "web: "+hostB))
	c.subscribe("web", "api", "more")
	c.ack(next(t, c, "3", "api: "+hostC, "more:", "web: "+hostB))
	c.subscribe("web")
	c.ack(next(t, c, "4", "web: "+hostB))
	s.eventually(t, "subscribed to one", subscribed("web"))
	s.Update(settled(service("api", hostA), service("web", hostB)))
	s.Update(settled(service("web", hostA)))
	next(t, c, "5", "web: "+hostA)
}

func TestDeltaSendsOnlyWhatChanged(t *testing.T) {
	s := start(t, Options{})
	c := openDeltaADS(t, s.conn)
	s.Update(settled(service("api", hostA), service("web", hostB)))
	c.subscribe("web", "api")
	c.ack(next(t, c, "1", "api: "+hostA, "web: "+hostB))
	s.eventually(t, "acknowledged", acked("api"))
	s.Update(settled(service("api", hostC), service("web", hostB)))
	c.ack(next(t, c, "2", "api: "+hostC))
	c.subscribe("more")
	c.ack(next(t, c, "3", "more:"))
	c.subscribe("web") // it may have dropped it
	c.ack(next(t, c, "4", "web: "+hostB))
	c.send(&discoveryv3.DeltaDiscoveryRequest{ResourceNamesUnsubscribe: []string{"api"}})
	s.eventually(t, "unsubscribed", subscribed("more", "web"))
	s.Update(settled(service("api", hostA), service("web", hostA)))
	next(t, c, "5", "web: "+hostA)
}

func TestDeltaReconnectWithCurrentVersionsSendsNothing(t *testing.T) {
	for _, when := range []string{"before it settled", "after it settled"} {
		t.Run(when, func(t *testing.T) {
			first := start(t, Options{})
			c := openDeltaEDS(t, first.conn)
			first.Update(settled(service("api", hostA), service("web", hostB)))
			c.subscribe("api", "nobody", "web")
			versions := map[string]string{}
			for _, item := range next(t, c, "1", "api: "+hostA, "nobody:", "web: "+hostB).items {
				name, version, _ := strings.Cut(item, "@")
				versions[name] = version
			}
			versions["api"] = "of long ago"

			second := start(t, Options{})
			if when == "after it settled" {
				second.Update(settled(service("api", hostA), service("web", hostB)))
			}
			c = openDeltaEDS(t, second.conn)
			c.send(&discoveryv3.DeltaDiscoveryRequest{
				Node: node, ResourceNamesSubscribe: []string{"api", "nobody", "web"}, InitialResourceVersions: versions,
			})
			second.eventually(t, "subscribed", subscribed("api", "nobody", "web"))
			second.Update(settled(service("api", hostA), service("web", hostB)))
			c.ack(next(t, c, "1", "api: "+hostA))
			client := second.eventually(t, "acknowledged", acked("api"))
			for _, s := range client.Services {
				if s.AckedSeq != second.cache.seq || s.Acked != s.Sent {
					t.Errorf("what the client came with does not count: %+v", s)
				}
			}
		})
	}
}

func TestWildcardGetsAllServices(t *testing.T) {
	onEachStream(t, func(t *testing.T, s *running, c subscriber) {
		s.Update(settled())
		c.subscribe("*")
		c.ack(next(t, c, "1"))
		s.Update(settled(service("api", hostA)))
		c.ack(next(t, c, "2", "api: "+hostA))
		s.Update(settled())
		c.ack(next(t, c, "3", "api:"))
		s.Update(settled(service("web"))) // known, but without endpoints
		next(t, c, "4", "web:")
	})
}

func TestNameUnsubscribedUnderTheWildcardIsSentAgain(t *testing.T) {
	s := start(t, Options{})
	s.Update(settled(service("api", hostA)))
	c := openDeltaEDS(t, s.conn)
	c.subscribe("*", "api")
	c.ack(next(t, c, "1", "api: "+hostA))
	c.send(&discoveryv3.DeltaDiscoveryRequest{ResourceNamesUnsubscribe: []string{"api"}})
	c.ack(next(t, c, "2", "api: "+hostA))
	s.eventually(t, "acknowledged", acked("api"))
	c.send(&discoveryv3.DeltaDiscoveryRequest{ResourceNamesUnsubscribe: []string{"*"}, ResourceNamesSubscribe: []string{"web"}})
	c.ack(next(t, c, "3", "web:"))
	s.Update(settled(service("api", hostB), service("web", hostB)))
	next(t, c, "4", "web: "+hostB)
}

func TestOtherTypesOnADSAreNeverAnswered(t *testing.T) {
	const clusters = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	s := start(t, Options{})
	s.Update(settled(service("web", hostA)))

	sotw := openADS(t, s.conn)
	must(t, sotw.stream.Send(&discoveryv3.DiscoveryRequest{Node: node, TypeUrl: clusters}))
	sotw.subscribe("web")
	sotw.ack(next(t, sotw, "1", "web: "+hostA))

	delta := openDeltaADS(t, s.conn)
	must(t, delta.stream.Send(&discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: clusters}))
	delta.subscribe("web")
	delta.ack(next(t, delta, "1", "web: "+hostA))

	s.Update(settled(service("web", hostB)))
	next(t, sotw, "2", "web: "+hostB)
	next(t, delta, "2", "web: "+hostB)
}

func TestStreamSizeIsBounded(t *testing.T) {
	many := make([]string, DefaultMaxNames+1)
	for i := range many {
		many[i] = fmt.Sprint("service-", i)
	}
	cases := map[string]func(c subscriber){
		"names":     func(c subscriber) { c.subscribe(many...) },
		"long name": func(c subscriber) { c.subscribe(strings.Repeat("x", maxNameLen+1)) },
		"no name":   func(c subscriber) { c.subscribe("") },
	}
	for name, send := range cases {
		t.Run(name, func(t *testing.T) {
			onEachStream(t, func(t *testing.T, s *running, c subscriber) {
				send(c)
				if _, err := c.recv(); status.Code(err) != codes.InvalidArgument {
					t.Errorf("the stream ended with %v, want InvalidArgument", err)
				}
			})
		})
	}
	t.Run("types", func(t *testing.T) {
		s := start(t, Options{})
		c := openADS(t, s.conn)
		for i := range maxTypes + 1 {
			must(t, c.stream.Send(&discoveryv3.DiscoveryRequest{TypeUrl: fmt.Sprint("type-", i)}))
		}
		if _, err := c.recv(); status.Code(err) != codes.InvalidArgument {
			t.Errorf("the stream ended with %v, want InvalidArgument", err)
		}
	})
	t.Run("clients", func(t *testing.T) {
		s := start(t, Options{MaxClients: 1})
		s.Update(settled())
		first := openEDS(t, s.conn)
		first.subscribe("web")
		next(t, first, "1", "web:")
		if _, err := openDeltaADS(t, s.conn).recv(); status.Code(err) != codes.ResourceExhausted {
			t.Errorf("the second stream ended with %v, want ResourceExhausted", err)
		}
	})
}

func TestStreamThatEndsIsForgotten(t *testing.T) {
	s := start(t, Options{})
	s.Update(settled(service("web", hostA)))
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(s.conn).DeltaAggregatedResources(ctx)
	must(t, err)
	c := &deltaClient{t: t, stream: stream}
	c.subscribe("web", "nobody", "*")
	next(t, c, "1", "nobody:", "web: "+hostA)
	cancel()
	for deadline := time.Now().Add(patience); len(s.Clients()) > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the client is still there")
		}
	}
	s.cache.mu.Lock()
	defer s.cache.mu.Unlock()
	if len(s.cache.watchers)+len(s.cache.wildcard)+len(s.cache.entries["web"].watchers) > 0 || s.cache.entries["nobody"] != nil {
		t.Errorf("the cache remembers the stream: %+v", s.cache)
	}
}

func TestClientIsListed(t *testing.T) {
	onEachStream(t, func(t *testing.T, s *running, c subscriber) {
		s.Update(settled(service("web", hostA)))
		c.subscribe("web")
		r := next(t, c, "1", "web: "+hostA)
		got := s.Clients()[0]
		if got.Node != "envoy-1" || got.Transport == "" || !strings.HasPrefix(got.Peer, "127.0.0.1:") ||
			got.Connected.IsZero() || got.Seen.Before(got.Connected) {
			t.Errorf("the client is %+v", got)
		}
		if sv := got.Services[0]; sv.Sent != r.version || sv.Acked != "" || sv.AckedSeq != 0 {
			t.Errorf("before the ACK: %+v", sv)
		}
		c.ack(r)
		got = s.eventually(t, "acknowledged", acked("web"))
		if sv := got.Services[0]; sv.Acked != r.version || sv.AckedSeq != s.cache.seq {
			t.Errorf("after the ACK: %+v", sv)
		}
	})
}

func TestRequestsAreLoggedOnceAndRepeatsAtDebug(t *testing.T) {
	for name, open := range transports {
		t.Run(name, func(t *testing.T) {
			var log lines
			s := start(t, Options{Logger: log.logger()})
			c := open(t, s.conn)
			s.Update(settled(service("web", hostA)))
			c.subscribe("web")
			first := next(t, c, "1", "web: "+hostA)
			for range 3 {
				c.nack(first, "bad weather")
			}
			s.Update(settled(service("web", hostB)))
			c.ack(next(t, c, "2", "web: "+hostB))
			s.eventually(t, "acknowledged", acked("web"))
			for _, want := range [][]string{{"says=subscribe"}, {"says=nack", `reason="bad weather"`}, {"says=ack", "version="}} {
				want = append(want, "level=INFO", "discovery request", "node=envoy-1", "transport="+name, "web")
				if got := log.with(want...); len(got) != 1 {
					t.Errorf("%d lines with %q: %q", len(got), want, got)
				}
			}
			if got := log.with("level=DEBUG", "says=nack"); len(got) != 2 {
				t.Errorf("%d repeated NACKs at debug level, want 2: %q", len(got), got)
			}
		})
	}
}
