package main

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"vswitchd/internal/control"
	"vswitchd/internal/layout"
)

// stateExport prints a document for programs and for support, which is JSON with or without -j.
func (c *client) stateExport() *cobra.Command {
	return &cobra.Command{
		Use:   "export",
		Short: "Print the state that another vswitchd would take over, as JSON",
		Args:  atMost(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			c.json = true
			body, err := control.NewClient(c.socket).Get(cmd.Context(), "/v1/state")
			return show(c, body, err, func(*layout.Page, json.RawMessage) {})
		},
	}
}
