package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/rollcall-fleet/rollcall/eds/api"
	"github.com/rollcall-fleet/rollcall/gossip"
)

// keysTimeout is for one call: members have 5 s to answer, some calls ask them twice.
const keysTimeout = 20 * time.Second

func newKeys() *cobra.Command {
	server := "http://127.0.0.1:8080"
	c := &cobra.Command{
		Use:   "keys",
		Short: "List and rotate the pool's encryption keys while it runs",
		Long: `Asks every member of the pool through an EDS server. To rotate: add a new key, use it,
remove the old one, and give the new key file to members that are yet to start. A
key is named by the beginning of its fingerprint. A member that has a
--gossip-key-file writes its keys back to it.`,
		Example: `  rollcall keygen gossip > new.key
  rollcall keys add new.key
  rollcall keys list
  rollcall keys use 3f2a
  rollcall keys remove 91c0`,
		Args: noArgs,
		RunE: help,
	}
	c.PersistentFlags().StringVar(&server, "server", server, "an EDS server's HTTP address, as a URL")
	verb := func(use, example, short string, args cobra.PositionalArgs, call func(ctx context.Context, args []string) (api.Keys, error)) {
		c.AddCommand(&cobra.Command{Use: use, Short: short, Example: "  rollcall keys " + example, Args: args, RunE: func(c *cobra.Command, args []string) error {
			ctx, cancel := context.WithTimeout(c.Context(), keysTimeout)
			defer cancel()
			keys, err := call(ctx, args)
			if err != nil {
				return err
			}
			return printKeys(c.OutOrStdout(), keys)
		}})
	}
	verb("list", "list --server http://127.0.0.1:8080", "Show the keys' fingerprints, and how many members have and use each", noArgs, func(ctx context.Context, _ []string) (api.Keys, error) {
		return callKeys(ctx, http.MethodGet, server, "", nil)
	})
	verb("add KEYFILE", "add new.key", "Have all members accept the first key of a file", oneArg, func(ctx context.Context, args []string) (api.Keys, error) {
		keys, err := gossip.ReadKeyFile(args[0])
		if err != nil {
			return api.Keys{}, err
		}
		return callKeys(ctx, http.MethodPost, server, "", map[string]string{"key": base64.StdEncoding.EncodeToString(keys[0])})
	})
	verb("use FINGERPRINT", "use 3f2a", "Have all members encrypt with a key that all have", oneArg, func(ctx context.Context, args []string) (api.Keys, error) {
		return callKeys(ctx, http.MethodPut, server, args[0], nil)
	})
	verb("remove FINGERPRINT", "remove 91c0", "Have all members forget a key that nobody encrypts with", oneArg, func(ctx context.Context, args []string) (api.Keys, error) {
		return callKeys(ctx, http.MethodDelete, server, args[0], nil)
	})
	return c
}

// callKeys asks the EDS server, and returns the detail of a refusal as the error.
func callKeys(ctx context.Context, method, server, fingerprint string, body any) (api.Keys, error) {
	var keys api.Keys
	target := strings.TrimSuffix(server, "/") + "/keys"
	if fingerprint != "" {
		target += "/" + url.PathEscape(strings.ToLower(fingerprint))
	}
	b, err := json.Marshal(body)
	if err != nil {
		return keys, err
	}
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(b))
	if err != nil {
		return keys, usageError{fmt.Errorf("--server: %w", err)}
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return keys, fmt.Errorf("ask the EDS server, see --server: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return keys, fmt.Errorf("read the EDS server's answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		var problem struct{ Detail string }
		_ = json.Unmarshal(answer, &problem)
		return keys, fmt.Errorf("the EDS server refused: %s", cmp.Or(problem.Detail, resp.Status))
	}
	return keys, json.Unmarshal(answer, &keys)
}

// printKeys returns an error when not every member did what it was asked to.
func printKeys(w io.Writer, keys api.Keys) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "FINGERPRINT\tMEMBERS\tPRIMARY\n")
	for _, k := range keys.Keys {
		fmt.Fprintf(t, "%s\t%d/%d\t%d/%d\n", k.Fingerprint, k.Members, keys.Members, k.Primary, keys.Members)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, p := range keys.Problems {
		fmt.Fprintf(w, "member %s: %s\n", p.Member, p.Problem)
	}
	for _, id := range keys.Silent {
		fmt.Fprintf(w, "member %s did not answer\n", id)
	}
	if n := len(keys.Problems) + len(keys.Silent); n > 0 {
		return fmt.Errorf("%d of %d members have a problem with their keys", n, keys.Members)
	}
	return nil
}
