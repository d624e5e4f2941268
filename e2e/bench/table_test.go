package main

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

func TestTableShowsMedianPercentileAndMaximum(t *testing.T) {
	var took []time.Duration
	for i := range 200 {
		took = append(took, time.Duration(200-i)*time.Millisecond)
	}
	var out strings.Builder
	if err := printTable(&out, []result{
		{row{name: "one", want: wantMax(time.Second)}, took[199:]},
		{row{name: "many", want: wantP99(197 * time.Millisecond)}, took},
		{row{name: "few", unit: count, want: wantZero}, []time.Duration{0}},
	}); err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(out.String()) {
		got = append(got, strings.Join(strings.Fields(line), " "))
	}
	want := []string{
		"trials median 99 % max what wanted", "1 1.0 ms 1.0 ms 1.0 ms one max ≤ 1000.0 ms: met",
		"200 100.0 ms 198.0 ms 200.0 ms many 99 % ≤ 197.0 ms: MISSED", "1 0 0 0 few max ≤ 0: met",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestLastRequestIsTheOneSentLast(t *testing.T) {
	since := time.Now()
	at := func(ms int, status int) stage.Answer {
		return stage.Answer{Sent: since.Add(time.Duration(ms) * time.Millisecond), Status: status}
	}
	failed := func(a stage.Answer) bool { return a.Status != http.StatusOK }
	answers := stage.Answers{at(-5, 503), at(1, 200), at(2, 503), at(3, 200)}
	if got := lastOf(answers, since, failed); got != 2*time.Millisecond {
		t.Errorf("the last one was sent after %s, want 2ms", got)
	}
	if got := lastOf(answers[:2], since, failed); got != 0 {
		t.Errorf("none was sent after the moment, got %s", got)
	}
}
