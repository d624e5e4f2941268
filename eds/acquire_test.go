package eds

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/internal/panics"
)

func TestSecondServerLearnsAllThatIsTaken(t *testing.T) {
	free := netip.MustParseAddrPort("127.0.0.1:0")
	dir := t.TempDir()
	var first, second stopper
	has, err := acquire(Options{HTTP: free, XDS: free, Gossip: free, DataDir: dir}, &first, panics.Catcher{})
	if err != nil {
		t.Fatal(err)
	}
	gossip, err := listen("Gossip", free)
	if err != nil {
		t.Fatal(err)
	}
	defer gossip.Close()
	taken := Options{
		HTTP: netip.MustParseAddrPort(has.http.Addr().String()), XDS: netip.MustParseAddrPort(has.xds.Addr().String()),
		Gossip: netip.MustParseAddrPort(gossip.Addr().String()), DataDir: dir,
	}
	began := time.Now()
	_, err = acquire(taken, &second, panics.Catcher{})
	if err == nil {
		t.Fatal("it has them all")
	}
	for _, want := range []string{"option HTTP " + taken.HTTP.String(), "option XDS " + taken.XDS.String(), "option Gossip " + taken.Gossip.String(), "option DataDir " + dir} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not name %s: %v", want, err)
		}
	}
	if took := time.Since(began); took >= lockWait {
		t.Errorf("it waited for %s", took)
	}
	if err := first.stop(); err != nil {
		t.Error(err)
	}
	if err := gossip.Close(); err != nil {
		t.Error(err)
	}
	if err := second.stop(); err != nil {
		t.Error(err)
	}
	if _, err := acquire(taken, &second, panics.Catcher{}); err != nil {
		t.Errorf("what the first one let go of cannot be had: %v", err)
	}
	if err := second.stop(); err != nil {
		t.Error(err)
	}
}
