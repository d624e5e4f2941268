package xds

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestRepeatedPollIsDecodedOnce(t *testing.T) {
	var r repeats
	for name, tt := range map[string]struct {
		body string
		kept bool
	}{
		"what most say":     {pollBody("x", "web", "api"), true},
		"a NACK":            {`{"resource_names":["web"],"error_detail":{"message":"no"}}`, false},
		"nothing that does": {`{"resource_names":[]}`, false},
		"much":              {pollBody("x", strings.Repeat("a", maxRepeatSize)), false},
	} {
		t.Run(name, func(t *testing.T) {
			want, err := decodePoll([]byte(tt.body), typeV3)
			first, err1 := r.decode([]byte(tt.body), typeV3)
			again, err2 := r.decode([]byte(tt.body), typeV3)
			third, _ := r.decode([]byte(tt.body), typeV3)
			if fmt.Sprint(err) != fmt.Sprint(err1) || fmt.Sprint(err) != fmt.Sprint(err2) {
				t.Errorf("errors are %v and %v, want %v", err1, err2, err)
			}
			if kept := err == nil && again == third; kept != tt.kept {
				t.Errorf("kept is %t", kept)
			}
			for _, req := range []interface {
				GetResourceNames() []string
				GetVersionInfo() string
			}{first, again} {
				if !slices.Equal(req.GetResourceNames(), want.GetResourceNames()) || req.GetVersionInfo() != want.GetVersionInfo() {
					t.Errorf("decoded %v, want %v", req, want)
				}
			}
			if again.GetNode().GetId() != want.GetNode().GetId() || again.GetErrorDetail().GetMessage() != want.GetErrorDetail().GetMessage() {
				t.Errorf("decoded %v, want %v", again, want)
			}
		})
	}
}

func TestPollsOfTheTwoAPIsAreKeptApart(t *testing.T) {
	var r repeats
	body := []byte(`{"type_url":"` + typeV3 + `","resource_names":["web"]}`)
	if _, err := r.decode(body, typeV3); err != nil {
		t.Fatal(err)
	}
	if _, err := r.decode(body, typeV2); err == nil {
		t.Error("a poll of v3 is answered over v2")
	}
}

func TestKeptPollsAreBounded(t *testing.T) {
	var r repeats
	for i := range maxRepeats + 10 {
		if _, err := r.decode([]byte(pollBody(fmt.Sprint(i), "web")), typeV3); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.polls) > maxRepeats {
		t.Errorf("%d are kept", len(r.polls))
	}
}
