package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"vswitchd/internal/control"
	"vswitchd/internal/nearest"
)

// Completion of arguments by the shell, with the names that a running vswitchd has.

// completion returns the command that prints the script with which a shell completes arguments.
func (c *client) completion(root *cobra.Command) *cobra.Command {
	shells := []string{"bash", "zsh", "fish"}
	scripts := map[string]func(io.Writer) error{
		"bash": func(w io.Writer) error { return root.GenBashCompletionV2(w, true) },
		"zsh":  root.GenZshCompletion,
		"fish": func(w io.Writer) error { return root.GenFishCompletion(w, true) },
	}
	return &cobra.Command{
		Use:   "completion {bash | zsh | fish}",
		Short: "Print the script with which a shell completes arguments",
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) == 0:
				return errors.New("the name of a shell is missing: bash, zsh or fish")
			case scripts[args[0]] == nil:
				return fmt.Errorf("unknown shell %q, must be bash, zsh or fish%s", args[0], nearest.Hint(args[0], shells))
			}
			return atMost(1)(nil, args)
		},
		ValidArgs: shells,
		RunE:      func(_ *cobra.Command, args []string) error { return scripts[args[0]](c.out) },
	}
}

// completeArguments has the shell complete the arguments of a command and of those below it, by the
// words that stand for them in the commands' synopses.
func (c *client) completeArguments(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		c.completeArguments(sub)
	}
	if cmd.ValidArgs != nil {
		return
	}
	cmd.ValidArgsFunction = c.candidates
	if cmd.Flags().Lookup("port") != nil {
		// An error says that there is no such flag.
		_ = cmd.RegisterFlagCompletionFunc("port", func(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return c.ports(cmd), cobra.ShellCompDirectiveNoFileComp
		})
	}
}

// complete has the shell complete the value of a flag.
func complete(cmd *cobra.Command, flag string, values []string) {
	// An error says that there is no such flag.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
}

// candidates returns what the next argument of a command can be. Without a running vswitchd, there
// are no names.
func (c *client) candidates(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	words := strings.Fields(strings.NewReplacer("[", " ", "]", " ", "{", " ", "}", " ", "...", "").Replace(cmd.Use))[1:]
	if len(words) == 0 || len(args) >= len(words) && words[len(words)-1] != "KEY=VALUE" {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	table := cmd.Parent().Name()
	switch words[min(len(args), len(words)-1)] {
	case "FILTER":
		if cmd.Name() == "top" { // elsewhere a filter is one of tcpdump's
			return c.ports(cmd), cobra.ShellCompDirectiveNoFileComp
		}
	case "PORT":
		return c.ports(cmd), cobra.ShellCompDirectiveNoFileComp
	case "NAME":
		switch {
		case cmd.Name() == "add" && table != "set" || cmd.Name() == "create":
			return nil, cobra.ShellCompDirectiveNoFileComp // a new name
		case cmd.Name() == "show" && table == "port":
			return c.ports(cmd), cobra.ShellCompDirectiveNoFileComp
		}
		return c.tables(cmd, table), cobra.ShellCompDirectiveNoFileComp
	case "KEY=VALUE":
		var list []cobra.Completion
		for _, k := range keysOf(headerOf(table)) {
			list = append(list, k.Name+"=")
		}
		return list, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
	return nil, cobra.ShellCompDirectiveNoFileComp
}

// headerOf returns the header of the table to which the keys of a command below a noun belong.
func headerOf(noun string) string {
	switch noun {
	case "switch", "log":
		return "[" + noun + "]"
	case "rule":
		return "[[filter.NAME.rules]]"
	case "neigh":
		return "[[neigh]]"
	}
	return "[" + noun + ".NAME]"
}

// ports returns the names of all ports.
func (c *client) ports(cmd *cobra.Command) (names []cobra.Completion) {
	body, err := control.NewClient(c.socket).Get(cmd.Context(), "/v1/ports")
	var ports []control.PortInfo
	if err != nil || json.Unmarshal(body, &ports) != nil {
		return nil
	}
	for _, p := range ports {
		names = append(names, p.Name)
	}
	return names
}

// tables returns the names of the tables [TABLE.NAME] of the configuration that runs.
func (c *client) tables(cmd *cobra.Command, table string) []cobra.Completion {
	info, err := c.config(cmd)
	if err != nil {
		return nil
	}
	if t := info.Document.Table(table); t != nil {
		return t.Keys()
	}
	return nil
}
