package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/rollcall-fleet/rollcall/cmd/rollcall/cli"
	"github.com/rollcall-fleet/rollcall/internal/auth"
)

func newKeygenToken() *cobra.Command {
	var name, role string
	c := &cobra.Command{
		Use:   "token",
		Short: "Print a new bearer token for the HTTP port, and to standard error the line that lets it in",
		Long: `Prints the token, for its owner, and to standard error the line for the file that is
given to rollcall eds as --http-tokens. The line does not give the token away.`,
		Example: "  (umask 077; rollcall keygen token --role operator --name alice > alice.token 2>> tokens)",
		Args:    cli.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := cli.Required(c.Flags(), "name"); err != nil {
				return err
			}
			r, err := auth.ParseRole(role)
			if err != nil {
				return cli.Usage(fmt.Errorf("--role: %w", err))
			}
			return printPair(c, func() (token, line string, err error) {
				if token, line, err = auth.NewToken(auth.Identity{Name: name, Role: r}); err != nil {
					err = fmt.Errorf("--name: %w", err)
				}
				return token, line, err
			})
		},
	}
	c.Flags().StringVar(&role, "role", string(auth.Viewer), "viewer or operator")
	c.Flags().StringVar(&name, "name", "", "whose it is; the name that the log tells of what was decided with it")
	return c
}
