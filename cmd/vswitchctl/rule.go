package main

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"vswitchd/internal/nearest"
	"vswitchd/internal/tomldoc"
)

// Commands that edit rules of filters.

func ruleKeys() []keyInfo { return keysOf("[[filter.NAME.rules]]") }

// rules returns the names of a filter's rules.
func rules(doc *tomldoc.Table, filter string) (names []string, err error) {
	if err := filterObject.exists(doc, filter); err != nil {
		return nil, err
	}
	for _, r := range doc.Table("filter").Table(filter).List("rules") {
		t, _ := r.(*tomldoc.Table)
		if t == nil {
			t = &tomldoc.Table{}
		}
		name, _ := t.Get("name").(string)
		names = append(names, name)
	}
	return names, nil
}

// rulePath returns the path of a rule, or of a key in it.
func rulePath(doc *tomldoc.Table, filter, rule string) (tomldoc.Path, error) {
	names, err := rules(doc, filter)
	if err != nil {
		return nil, err
	}
	i := slices.Index(names, rule)
	if i < 0 {
		return nil, fmt.Errorf("filter %q has no rule %q%s", filter, rule, nearest.Hint(rule, names))
	}
	return filterObject.path(filter, "rules", strconv.Itoa(i)), nil
}

// filterAndRule checks that the first two arguments are names.
func filterAndRule(cmd *cobra.Command, args []string) error {
	if err := named("filter")(cmd, args); err != nil {
		return err
	}
	return named("rule")(cmd, args[1:])
}

func (c *client) ruleAdd() *cobra.Command {
	var f editFlags
	var before, after string
	var first bool
	cmd := &cobra.Command{
		Use:   "add FILTER RULE KEY=VALUE...",
		Short: "Add a rule to a filter, behind the other rules unless a flag says otherwise",
		Long:  "Add a rule to a filter, behind the other rules unless a flag says otherwise.\n\n" + keyHelp(ruleKeys()),
		Args:  filterAndRule,
		RunE: func(cmd *cobra.Command, args []string) error {
			settings, err := parseSettings(ruleKeys(), args[2:])
			if err != nil {
				return err
			}
			places := 0
			for _, flag := range []string{"before", "after", "first"} {
				if cmd.Flags().Changed(flag) {
					places++
				}
			}
			if places > 1 {
				return errors.New("--before, --after and --first exclude each other")
			}
			rule := tableOf(append([]setting{{"name", args[1]}}, settings...))
			return c.edit(cmd, &f, func(doc *tomldoc.Table) (tomldoc.Patch, error) {
				path, err := rulePlace(doc, args[0], args[1], before, after, first)
				var p tomldoc.Patch
				if err == nil && doc.Table("filter").Table(args[0]).Get("rules") == nil {
					p = append(p, tomldoc.Edit{Op: "add", Path: filterObject.path(args[0], "rules"), Value: []any{}})
				}
				return append(p, tomldoc.Edit{Op: "add", Path: path, Value: rule}), err
			})
		},
	}
	cmd.Flags().StringVar(&before, "before", "", "before this `rule`")
	cmd.Flags().StringVar(&after, "after", "", "behind this `rule`")
	cmd.Flags().BoolVar(&first, "first", false, "before all rules")
	f.register(cmd)
	return cmd
}

// rulePlace returns the path at which a rule is inserted.
func rulePlace(doc *tomldoc.Table, filter, rule, before, after string, first bool) (tomldoc.Path, error) {
	names, err := rules(doc, filter)
	switch {
	case err != nil:
		return nil, err
	case slices.Contains(names, rule):
		return nil, fmt.Errorf("filter %q has a rule %q already", filter, rule)
	case first:
		return filterObject.path(filter, "rules", "0"), nil
	case before != "":
		return rulePath(doc, filter, before)
	case after == "":
		return filterObject.path(filter, "rules", "-"), nil
	}
	if _, err := rulePath(doc, filter, after); err != nil {
		return nil, err
	}
	return filterObject.path(filter, "rules", strconv.Itoa(slices.Index(names, after)+1)), nil
}

func (c *client) ruleSet() *cobra.Command {
	return c.setCommand("set FILTER RULE [KEY=VALUE]...", "Change keys of a rule", ruleKeys(), filterAndRule, 2,
		func(doc *tomldoc.Table, args []string) (tomldoc.Path, error) { return rulePath(doc, args[0], args[1]) })
}

func (c *client) ruleReplace() *cobra.Command {
	var f editFlags
	cmd := &cobra.Command{
		Use:   "replace FILTER RULE KEY=VALUE...",
		Short: "Replace a rule by another one, at the same place",
		Long:  "Replace a rule by another one, at the same place. It keeps the name, and with\nthat the counters, unless another name is given.\n\n" + keyHelp(ruleKeys()),
		Args:  filterAndRule,
		RunE: func(cmd *cobra.Command, args []string) error {
			settings, err := parseSettings(ruleKeys(), args[2:])
			if err != nil {
				return err
			}
			rule := tableOf(append([]setting{{"name", args[1]}}, settings...))
			return c.edit(cmd, &f, func(doc *tomldoc.Table) (tomldoc.Patch, error) {
				path, err := rulePath(doc, args[0], args[1])
				return tomldoc.Patch{{Op: "replace", Path: path, Value: rule}}, err
			})
		},
	}
	f.register(cmd)
	return cmd
}

func (c *client) ruleDel() *cobra.Command {
	var f editFlags
	cmd := &cobra.Command{
		Use:   "del FILTER RULE",
		Short: "Remove a rule of a filter",
		Args: func(cmd *cobra.Command, args []string) error {
			if err := filterAndRule(cmd, args); err != nil {
				return err
			}
			return atMost(2)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.edit(cmd, &f, func(doc *tomldoc.Table) (tomldoc.Patch, error) {
				path, err := rulePath(doc, args[0], args[1])
				return tomldoc.Patch{{Op: "remove", Path: path}}, err
			})
		},
	}
	f.register(cmd)
	return cmd
}
