package peer

import (
	"context"

	"github.com/spf13/cobra"
)

// Command completes a command that runs in a lab: the command takes no arguments, and has a flag
// for the folder with what is measured. cpu is as in WithLab.
func Command(c *cobra.Command, cpu int, run func(context.Context, *Lab) error) *cobra.Command {
	build := c.Flags().String("build", "build", "folder with vswitchd, and with what scripts/install-peers.sh gets")
	c.Args = cobra.NoArgs
	c.RunE = func(c *cobra.Command, _ []string) error { return WithLab(c.Context(), *build, cpu, run) }
	return c
}
