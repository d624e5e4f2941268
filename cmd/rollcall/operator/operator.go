// Package operator has the commands that ask an EDS server over its API: those that show
// the fleet, and those that override it.
package operator

import "github.com/spf13/cobra"

// Commands returns all of them, in the order of the help.
func Commands() []*cobra.Command {
	return []*cobra.Command{
		newServices(), newHosts(), newClients(), newMembers(), newWatch(), newDrain(), newExclude(), newForce(), newUndrain(), newWeight(),
		newUndo(), newPin(), newUnpin(), newOverrides(), newAudit(), newGuards(), newKeys(),
	}
}
