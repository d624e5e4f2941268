package e2e

import (
	"net/http"
	"testing"

	"github.com/rollcall-fleet/rollcall/envoy"
	"github.com/rollcall-fleet/rollcall/internal/demo/stage"
)

// overEach runs test once for each of Envoy's transports, side by side.
func overEach(t *testing.T, test func(*harness, envoy.API)) {
	t.Parallel()
	for _, api := range envoy.APIs() {
		t.Run(string(api), func(t *testing.T) {
			t.Parallel()
			test(newHarness(t), api)
		})
	}
}

func TestUpstreamsRegisterThemselvesAndDisappearWhenKilled(t *testing.T) {
	overEach(t, func(h *harness, api envoy.API) {
		h.eds()
		h.envoy(api)
		h.servesNobody()

		one := h.upstream()
		h.serves(one)
		a := h.Client.Get(h.t.Context())
		if got := a.Header.Get("Server"); got != "envoy" {
			h.t.Errorf("header server is %q, want envoy", got)
		}
		if len(one.ID) != 36 {
			h.t.Errorf("the uuid %q has %d characters, want 36", one.ID, len(one.ID))
		}

		two, three := h.upstream(), h.upstream()
		h.serves(one, two, three)

		two.Kill()
		h.letsGoOf(two)
		h.serves(one, three)
	})
}

func TestSigtermOfAnUpstreamFailsNoRequest(t *testing.T) {
	overEach(t, func(h *harness, api envoy.API) {
		h.eds()
		h.envoy(api, "--no-retries")
		one, two, three := h.upstream(), h.upstream(), h.upstream()
		h.serves(one, two, three)

		load := h.load()
		isTwo := func(a stage.Answer) bool { return a.ID() == two.ID }
		if _, err := load.First(within(h.t, patience), isTwo); err != nil {
			h.t.Fatal(err)
		}
		if err := two.Stop(within(h.t, patience)); err != nil {
			h.t.Error(err)
		}
		h.letsGoOf(two)
		h.noneFailed(load)
		h.serves(one, three)
	})
}

func TestOperatorOverrules(t *testing.T) {
	overEach(t, func(h *harness, api envoy.API) {
		h.eds()
		h.envoy(api)
		a, b, c := h.upstream(), h.upstream(), h.stranger()
		h.serves(a, b)

		h.operate(http.StatusCreated, http.MethodPost, stage.HostList(c.Port))
		h.serves(a, b, c)
		h.operate(http.StatusConflict, http.MethodPost, stage.HostList(c.Port))

		h.operate(http.StatusOK, http.MethodPut, stage.HostList())
		h.servesNobody()
		h.operate(http.StatusConflict, http.MethodPost, stage.HostList(c.Port))

		h.operate(http.StatusOK, http.MethodPut, stage.HostList(c.Port, b.Port))
		h.serves(b, c)

		h.operate(http.StatusNoContent, http.MethodDelete, "")
		h.serves(a, b)
		h.operate(http.StatusNotFound, http.MethodDelete, "")
	})
}

func TestRestartOfTheEDSServerFailsNoRequest(t *testing.T) {
	overEach(t, func(h *harness, api envoy.API) {
		eds := h.eds()
		h.envoy(api, "--no-retries")
		registered, manual := h.upstream(), h.stranger()
		h.serves(registered)
		h.operate(http.StatusCreated, http.MethodPost, stage.HostList(manual.Port))
		h.serves(registered, manual)

		load := h.load()
		if err := eds.Stop(within(h.t, patience)); err != nil {
			h.t.Error(err)
		}
		eds = h.eds()
		afterSigterm := h.upstream()
		h.serves(registered, manual, afterSigterm)

		eds.Kill()
		h.eds()
		afterKill := h.upstream()
		h.serves(registered, manual, afterSigterm, afterKill)
		h.noneFailed(load)
	})
}
