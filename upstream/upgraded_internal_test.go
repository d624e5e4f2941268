package upstream

import (
	"net"
	"testing"
)

func TestEndedUpgradedConnectionsAreNotKept(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	u := newUpgraded()
	for range 10 * upgradedMin {
		conn, err := net.Dial("tcp", ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		u.add(conn)
		conn.Close()
		if n := len(u.conns); n > upgradedMin {
			t.Fatalf("%d connections are kept", n)
		}
	}
	if n := u.open(); n != 0 {
		t.Errorf("%d connections are open", n)
	}
}
