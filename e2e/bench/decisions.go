package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// decisionRows measure what operators decide about single hosts.
func decisionRows() []row {
	return []row{
		{name: "PATCH → Envoy follows, over grpc", want: wantP99(20 * time.Millisecond), setup: patchFollows},
		{name: "decision at one EDS server → in force at the other", want: wantMax(500 * time.Millisecond), setup: patchReplicates},
		{name: "EDS server started with 10,000 decisions → ready", want: wantMax(time.Second), most: 10, setup: startWithDecisions},
		{name: "with 10,000 decisions: upstream started → first 200 from it", want: wantMax(100 * time.Millisecond), most: 30, setup: startWhileDecided},
		{name: "2,500 decisions by 16 clients, each on disk when answered", want: wantMax(5 * time.Second), most: 3, setup: manyDecisions},
	}
}

// patch overrides a host of a service, and returns the answer.
func patch(ctx context.Context, f *stage.Fleet, service, host, body string) (string, error) {
	return f.API.Expect(ctx, http.StatusOK, http.MethodPatch, "/edsservice/"+service+"/hosts/"+host, body)
}

// patchFollows measures from the moment an exclusion is sent until no request goes
// to the host any more.
func patchFollows(ctx context.Context, f *stage.Fleet) (trial, error) {
	if err := startFleet(ctx, f, "grpc"); err != nil {
		return nil, err
	}
	a, err := startUpstream(ctx, f)
	if err != nil {
		return nil, err
	}
	b, err := startUpstream(ctx, f)
	if err != nil {
		return nil, err
	}
	both := func(ctx context.Context) error { return f.Client.ExpectIDs(ctx, a.ID, b.ID) }
	return func(ctx context.Context) (time.Duration, error) {
		load := poll(ctx, f)
		defer load.Stop()
		if _, err := load.First(ctx, from(a.ID)); err != nil {
			return 0, err
		}
		asked := time.Now()
		if _, err := patch(ctx, f, f.Service, a.ID, `{"state":"exclude"}`); err != nil {
			return 0, err
		}
		answers, err := finish(ctx, load)
		if failed := answers.Failed(); err == nil && len(failed) > 0 {
			err = fmt.Errorf("%d requests failed, the first: %w", len(failed), failed[0].Failure())
		}
		if err == nil {
			_, err = patch(ctx, f, f.Service, a.ID, `{"state":null}`)
		}
		if err == nil {
			err = stage.Eventually(ctx, both)
		}
		return lastOf(answers, asked, from(a.ID)), err
	}, stage.Eventually(ctx, both)
}

// patchReplicates measures from the moment a decision is sent until the other server
// says that it is in force.
func patchReplicates(ctx context.Context, f *stage.Fleet) (trial, error) {
	if _, err := f.EDS(ctx); err != nil {
		return nil, err
	}
	second, err := stage.Fresh()
	if err != nil {
		return nil, err
	}
	p, err := f.StartEDSAt(second, "--join", f.Addresses.Gossip)
	if err != nil {
		return nil, err
	}
	other := stage.NewAPI(second.HTTP)
	if err := p.Await(ctx, other.Ready); err != nil {
		return nil, err
	}
	if _, err := startUpstream(ctx, f); err != nil {
		return nil, err
	}
	n := 0
	return func(ctx context.Context) (time.Duration, error) {
		n++
		asked := time.Now()
		answer, err := patch(ctx, f, f.Service, nth(n), `{"state":"drain"}`)
		if err != nil {
			return 0, err
		}
		var patched struct{ Override struct{ ID string } }
		if err := json.Unmarshal([]byte(answer), &patched); err != nil {
			return 0, err
		}
		for {
			switch status, body, err := other.Do(ctx, http.MethodGet, "/overrides/"+patched.Override.ID, ""); {
			case err != nil:
				return 0, err
			case status == http.StatusOK:
				return time.Since(asked), nil
			case status != http.StatusNotFound:
				return 0, fmt.Errorf("status %d: %s", status, body)
			}
		}
	}, nil
}

// nth names one of many hosts that are not there.
func nth(n int) string { return fmt.Sprintf("10.%d.%d.%d:80", n>>16, n>>8&255, n&255) }

// manyOverrides is as many as may be in force unless a flag says otherwise.
const manyOverrides = 10_000

// services is over how many of them ten thousand decisions are spread.
const services = 100

func serviceOf(n int) string { return fmt.Sprintf("service-%d", n%services) }

// decidedBefore has the fleet's EDS server find ten thousand overrides on its disk.
func decidedBefore(ctx context.Context, f *stage.Fleet) error {
	p, err := f.EDS(ctx, "--http-rate", "0")
	if err != nil {
		return err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for n := range manyOverrides {
		g.Go(func() error {
			_, err := patch(ctx, f, serviceOf(n), nth(n), `{"state":"drain","load_balancing_weight":5,"reason":"ten thousand"}`)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return p.Stop(context.WithoutCancel(ctx))
}

func startWithDecisions(ctx context.Context, f *stage.Fleet) (trial, error) {
	return func(ctx context.Context) (time.Duration, error) {
		p, err := f.EDS(ctx)
		if err != nil {
			return 0, err
		}
		took := time.Since(p.Started)
		return took, p.Stop(ctx)
	}, decidedBefore(ctx, f)
}

// startWhileDecided is startRow at a server that holds many decisions, all of which
// are in force: what it takes longer than that is what they cost a member's change.
func startWhileDecided(ctx context.Context, f *stage.Fleet) (trial, error) {
	if err := decidedBefore(ctx, f); err != nil {
		return nil, err
	}
	if err := startFleet(ctx, f, "grpc"); err != nil {
		return nil, err
	}
	var inForce struct{ Overrides []struct{} }
	if err := f.API.Get(ctx, "/overrides", &inForce); err != nil {
		return nil, err
	}
	if n := len(inForce.Overrides); n != manyOverrides {
		return nil, fmt.Errorf("%d decisions are in force, want %d", n, manyOverrides)
	}
	return startUntilServed(f), nil
}

func manyDecisions(ctx context.Context, f *stage.Fleet) (trial, error) {
	if _, err := f.EDS(ctx, "--http-rate", "0"); err != nil {
		return nil, err
	}
	if _, err := startUpstream(ctx, f); err != nil {
		return nil, err
	}
	err := stage.Eventually(ctx, func(ctx context.Context) error {
		s, err := f.API.Service(ctx, f.Service)
		if err == nil && len(s.Hosts) == 0 {
			err = fmt.Errorf("service %s is not there", f.Service)
		}
		return err
	})
	return func(ctx context.Context) (time.Duration, error) {
		begun := time.Now()
		g, ctx := errgroup.WithContext(ctx)
		g.SetLimit(16)
		for n := range 2500 {
			g.Go(func() error {
				_, err := patch(ctx, f, f.Service, nth(n), fmt.Sprintf(`{"load_balancing_weight":%d}`, 1+time.Now().UnixNano()%1000))
				return err
			})
		}
		err := g.Wait()
		return time.Since(begun), err
	}, err
}
