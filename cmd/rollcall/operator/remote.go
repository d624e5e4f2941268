package operator

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"sigs.k8s.io/yaml"

	"github.com/rollcall-fleet/rollcall/client"
	"github.com/rollcall-fleet/rollcall/cmd/rollcall/cli"
	"github.com/rollcall-fleet/rollcall/internal/certs"
	"github.com/rollcall-fleet/rollcall/internal/reload"
)

// remoteFlags say which EDS server is asked, by whom, and how its answer is printed.
type remoteFlags struct {
	servers []string
	actor   string
	output  string
	lines   bool // it prints without end, which yaml is not for

	token string      // file
	certs certs.Files // PeerCA: who signs the servers' certificates

	timeout time.Duration // of a request; 0: the client's own

	unsettled func(server string) // see client.Options
}

// outputs are what -o takes.
var outputs = []string{"table", "json", "yaml"}

func (r *remoteFlags) add(c *cobra.Command) {
	fs := c.Flags()
	fs.StringSliceVar(&r.servers, "server", []string{client.DefaultServer}, "EDS servers' HTTP API, as host[:port] or URL, tried in order, comma-separated or repeated; port 8080 unless given, and https:// with --ca, --cert or a token for another machine")
	cli.FileVar(fs, &r.token, "token-file", "file with the token to show to the servers (rollcall keygen token)", cli.Secret)
	cli.FileVar(fs, &r.certs.PeerCA, "ca", "PEM certificates of those who sign the servers' certificates (default what the system trusts)", cli.Certificate)
	cli.FileVar(fs, &r.certs.Cert, "cert", "PEM client certificate to show to the servers", cli.Certificate)
	cli.FileVar(fs, &r.certs.Key, "key", "PEM key of --cert", cli.Secret)
	usage, words := "table, json or yaml; json is what the API answers", outputs
	if r.lines {
		usage, words = "table, or json, an object in each line", []string{"table", "json"}
	}
	fs.StringVarP(&r.output, "output", "o", "table", usage)
	_ = c.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
	_ = c.RegisterFlagCompletionFunc("server", cobra.NoFileCompletions)
}

// addActor is for verbs that decide.
func (r *remoteFlags) addActor(fs *pflag.FlagSet) {
	fs.StringVar(&r.actor, "actor", os.Getenv("USER"), "who decides, for the others and the audit")
}

// client checks the flags.
func (r *remoteFlags) client() (*client.Client, error) {
	if !slices.Contains(outputs, r.output) {
		return nil, cli.Usage(fmt.Errorf("--output %q is none of %s", r.output, strings.Join(outputs, ", ")))
	}
	return r.connect(r.timeout)
}

func (r *remoteFlags) connect(timeout time.Duration) (*client.Client, error) {
	tlsConfig, err := certs.Client(r.certs)
	if err != nil {
		return nil, cli.Usage(err)
	}
	token, err := readToken(r.token)
	if err != nil {
		return nil, cli.Usage(fmt.Errorf("--token-file: %w", err))
	}
	c, err := client.New(client.Options{Servers: r.servers, Actor: r.actor, Timeout: timeout, Token: token, TLS: tlsConfig, Unsettled: r.unsettled})
	if err != nil {
		return nil, cli.Usage(fmt.Errorf("--server: %w", err))
	}
	return c, nil
}

// maxToken bounds a file with a token, in bytes.
const maxToken = 4 << 10

// readToken returns the token in a file; "" without one.
func readToken(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	b, err := reload.ReadFile(path, maxToken)
	if err != nil {
		return "", err
	}
	token := strings.TrimSpace(string(b))
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("%s does not hold one token, as rollcall keygen token prints it", path)
	}
	return token, nil
}

// print writes document, or with -o table what table writes.
func (r *remoteFlags) print(w io.Writer, document json.RawMessage, table func(w io.Writer, now time.Time) error) error {
	switch r.output {
	case "json":
		b, err := json.MarshalIndent(document, "", "  ")
		if err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		_, err = fmt.Fprintf(w, "%s\n", b)
		return err
	case "yaml":
		b, err := yaml.JSONToYAML(document)
		if err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		_, err = w.Write(b)
		return err
	default:
		return table(w, time.Now())
	}
}

// done tells of a change without an answer; a script has the exit code.
func (r *remoteFlags) done(out io.Writer, said string) error {
	if r.output != "table" {
		return nil
	}
	_, err := fmt.Fprintln(out, said)
	return err
}

// asks makes the RunE of a verb of what it asks.
func (r *remoteFlags) asks(ask func(ctx context.Context, c *client.Client, out io.Writer, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		warn := func(said string, _ ...any) { fmt.Fprintln(cmd.ErrOrStderr(), "rollcall: "+said) }
		if err := cli.CheckFiles(warn, false, cmd.Flags()); err != nil {
			return err
		}
		var once sync.Once
		r.unsettled = func(server string) {
			once.Do(func() {
				warn("the EDS server at " + server + " has not settled yet: what it lists may be short of the truth")
			})
		}
		c, err := r.client()
		if err != nil {
			return err
		}
		defer c.Close()
		return hinted(ask(cmd.Context(), c, cmd.OutOrStdout(), args), r.certs.Cert != "")
	}
}
