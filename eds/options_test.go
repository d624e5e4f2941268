package eds

import (
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestOnlyALoopbackAddressIsTakenForProfiles(t *testing.T) {
	for addr, ok := range map[string]bool{"127.0.0.1:6060": true, "[::1]:6060": true, "0.0.0.0:6060": false, "10.0.0.1:6060": false, "[::]:6060": false} {
		opts := DefaultOptions()
		opts.DataDir, opts.Debug = t.TempDir(), netip.MustParseAddrPort(addr)
		if err := opts.Check(); (err == nil) != ok {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

func TestOptionsThatNoServerCanRunWithAreNamed(t *testing.T) {
	for field, set := range map[string]func(*Options){
		"DataDir":       func(o *Options) { o.DataDir = "" },
		"Guard":         func(o *Options) { o.Guard = 1.5 },
		"ProbeInterval": func(o *Options) { o.ProbeInterval = time.Hour },
	} {
		opts := DefaultOptions()
		opts.DataDir = t.TempDir()
		set(&opts)
		if err := Run(t.Context(), opts); err == nil || !strings.HasPrefix(err.Error(), "option "+field+" is ") || strings.Contains(err.Error(), "--") {
			t.Errorf("%s: %v", field, err)
		}
	}
}

func TestZeroOptionsAreTheDefaults(t *testing.T) {
	d := DefaultOptions()
	if again := d.withDefaults(); again.HTTP != d.HTTP || again.Guard != d.Guard || again.Access.Rate != d.Access.Rate || again.Trust.MaxServices != d.Trust.MaxServices {
		t.Errorf("the defaults of the defaults differ: %+v, %+v", again, d)
	}
	if o := (Options{Guard: -1, Access: Access{Rate: -1}}).withDefaults(); o.Guard != -1 || o.Access.Rate != -1 {
		t.Errorf("none became a default: %v, %v", o.Guard, o.Access.Rate)
	}
}
