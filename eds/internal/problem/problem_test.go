package problem

import (
	"net/http/httptest"
	"strings"
	"testing"
)

func TestProblemIsWrittenAsADocument(t *testing.T) {
	for status, retry := range map[int]string{400: "", 429: "1", 503: "1"} {
		w := httptest.NewRecorder()
		Errorf(status, "weight is %d & <too large>\xff", 7).Write(w)
		const want = `,"detail":"weight is 7 & <too large>\ufffd"}` + "\n" // what is no UTF-8 is replaced
		if got := w.Body.String(); w.Code != status || w.Header().Get("Content-Type") != ContentType || w.Header().Get("Retry-After") != retry || !strings.HasSuffix(got, want) {
			t.Errorf("%d: %d %v %s", status, w.Code, w.Header(), got)
		}
	}
}
