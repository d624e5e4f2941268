package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/rollcall-fleet/rollcall/eds/auth"
)

func newKeygenToken() *cobra.Command {
	var name, role string
	c := &cobra.Command{
		Use:   "token",
		Short: "Print a new bearer token for the HTTP port, and the line that lets it in",
		Long: `Prints two lines: the token, for its owner, and the line for the file that is given
to rollcall eds as --http-tokens. The line does not give the token away.`,
		Example: "  rollcall keygen token --role operator --name alice",
		Args:    noArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if err := required(c.Flags(), "name"); err != nil {
				return err
			}
			r, err := auth.ParseRole(role)
			if err != nil {
				return usageError{fmt.Errorf("--role: %w", err)}
			}
			token, line, err := auth.NewToken(auth.Identity{Name: name, Role: r})
			if err != nil {
				return usageError{fmt.Errorf("--name: %w", err)}
			}
			_, err = fmt.Fprintf(c.OutOrStdout(), "%s\n%s\n", token, line)
			return err
		},
	}
	c.Flags().StringVar(&role, "role", string(auth.Viewer), "viewer or operator")
	c.Flags().StringVar(&name, "name", "", "whose it is; the name that the log tells of what was decided with it")
	return c
}
