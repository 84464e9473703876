// Command bench measures what vswitchd can do. See the README in this folder.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"vswitchd/bench/compare"
	"vswitchd/bench/generate"
	"vswitchd/bench/guests"
	"vswitchd/bench/soak"
	"vswitchd/bench/workers"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	root := &cobra.Command{
		Use:           "bench",
		Short:         "Measure what vswitchd can do",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(compare.Command(), generate.Command(), guests.Command(), soak.Command(), workers.Command())
	if c, err := root.ExecuteContextC(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", c.CommandPath(), err)
		os.Exit(1)
	}
}
