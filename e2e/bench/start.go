package main

import (
	"context"
	"net/http"
	"time"

	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// startRow measures from the start of the process to the answer of the first
// request through Envoy that it served.
var startRow = row{name: "upstream started → first 200 from it", want: wantMax(100 * time.Millisecond), most: 30, setup: func(ctx context.Context, f *stage.Fleet) (trial, error) {
	return startUntilServed(f), startFleet(ctx, f, "grpc")
}}

// startUntilServed starts an upstream beside no other, and stops it again.
func startUntilServed(f *stage.Fleet) trial {
	return func(ctx context.Context) (time.Duration, error) {
		load := poll(ctx, f)
		defer load.Stop()
		port, err := stage.FreePort()
		if err != nil {
			return 0, err
		}
		p, err := f.StartUpstream(port)
		if err != nil {
			return 0, err
		}
		first, err := load.First(ctx, func(a stage.Answer) bool { return a.Failure() == nil })
		if err != nil {
			return 0, err
		}
		if err := p.Stop(ctx); err != nil {
			return 0, err
		}
		_, err = load.First(ctx, func(a stage.Answer) bool {
			return a.Sent.After(first.Got) && a.Status == http.StatusServiceUnavailable && a.Body == "no healthy upstream"
		})
		return first.Got.Sub(p.Started), err
	}
}
