package operator

import (
	"crypto/tls"
	"errors"
	"io"
	"log"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rollcall-fleet/rollcall/cmd/rollcall/cli"
	"github.com/rollcall-fleet/rollcall/internal/auth"
	"github.com/rollcall-fleet/rollcall/internal/certs"
)

// lock puts TLS, tokens and roles before r's API, and returns the address and the
// folder with certificates and the token ann.token of an operator.
func (r *rig) lock() (address, dir string) {
	r.Helper()
	dir = r.folder()
	token, line, err := auth.NewToken(auth.Identity{Name: "ann", Role: auth.Operator})
	r.no(err)
	r.no(os.WriteFile(filepath.Join(dir, "ann.token"), []byte(token), 0o600))
	r.no(os.WriteFile(filepath.Join(dir, "tokens"), []byte(line), 0o600))
	logger := slog.New(slog.DiscardHandler)
	who, err := auth.New(auth.Options{TokenFile: filepath.Join(dir, "tokens"), ClientCA: true, Logger: logger})
	r.no(err)
	s := httptest.NewUnstartedServer(r.Locked(who))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	files := certs.Files{Cert: filepath.Join(dir, "eds.pem"), Key: filepath.Join(dir, "eds-key.pem"), PeerCA: filepath.Join(dir, "ca.pem")}
	s.TLS, err = certs.Server(files, tls.VerifyClientCertIfGiven, logger, "h2", "http/1.1")
	r.no(err)
	s.StartTLS()
	r.Cleanup(s.Close)
	return s.Listener.Addr().String(), dir
}

// folder has certificates of a CA of its own.
func (r *rig) folder() string {
	r.Helper()
	dir := r.TempDir()
	r.no(certs.Init(certs.InitOptions{Dir: dir, Life: time.Hour}))
	return dir
}

func (r *rig) no(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

func TestALockedServerIsOpenedWithTheFlagsThatErrorsName(t *testing.T) {
	r := newRig(t)
	address, dir := r.lock()
	other := r.folder()
	ca, token := " --ca "+dir+"/ca.pem", " --token-file "+dir+"/ann.token"
	const unlocked = "services --server "
	r.play(
		step{unlocked + "http://" + address, cli.ExitUsage, "speaks TLS, give its URL as https://" + address},
		step{unlocked + "https://" + address, cli.ExitFailed, "unknown authority (--ca says"},
		step{unlocked + address + " --ca " + other + "/ca.pem", cli.ExitFailed, "(--ca says"},
		step{unlocked + address + ca, cli.ExitFailed, "(--token-file, or --cert and --key, say who asks)"},
		step{unlocked + address + ca + " --token-file " + dir + "/tokens", cli.ExitUsage, "--token-file"},
		step{unlocked + address + ca + " --cert " + other + "/operator.pem --key " + other + "/operator-key.pem", cli.ExitFailed, "(--cert and --key are what the server was shown"},
		step{unlocked + address + ca + " --cert " + dir + "/operator.pem --key " + dir + "/operator-key.pem", cli.ExitFailed, "operator has no role: want"},
		step{unlocked + address + ca + token, 0, "web"},
		step{"drain web 1f0c0 --server " + address + ca + token, 0, "drain by ann"},
	)
}

func TestAServerIsToldToBeAnotherThanTheOneInItsCertificate(t *testing.T) {
	r := newRig(t)
	ca, err := certs.NewCA("test", time.Hour)
	r.no(err)
	cert, key, err := ca.Issue(certs.Leaf{Name: "eds", Hosts: []string{"eds.test"}})
	r.no(err)
	dir := r.TempDir()
	r.no(errors.Join(os.WriteFile(dir+"/ca.pem", ca.PEM, 0o600), os.WriteFile(dir+"/eds.pem", cert, 0o600), os.WriteFile(dir+"/key.pem", key, 0o600)))
	s := httptest.NewUnstartedServer(r.Config.Handler)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS, err = certs.Server(certs.Files{Cert: dir + "/eds.pem", Key: dir + "/key.pem"}, tls.NoClientCert, slog.New(slog.DiscardHandler), "h2")
	r.no(err)
	s.StartTLS()
	defer s.Close()
	r.play(step{"services --server " + s.Listener.Addr().String() + " --ca " + dir + "/ca.pem", cli.ExitFailed, "(--server wants a name that is in the certificate)"})
}
