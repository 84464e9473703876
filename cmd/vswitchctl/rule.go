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
	var before, after string
	var first bool
	cmd := c.editCommand("add FILTER RULE KEY=VALUE...", "Add a rule to a filter, behind the other rules unless a flag says otherwise", ruleKeys(), filterAndRule,
		func(cmd *cobra.Command, args []string) (edit, error) {
			places := 0
			for _, flag := range []string{"before", "after", "first"} {
				if cmd.Flags().Changed(flag) {
					places++
				}
			}
			if places > 1 {
				return nil, errors.New("--before, --after and --first exclude each other")
			}
			rule, err := parseRule(args)
			return func(doc *tomldoc.Table) (p tomldoc.Patch, _ error) {
				path, err := rulePlace(doc, args[0], args[1], before, after, first)
				if err == nil && doc.Table("filter").Table(args[0]).Get("rules") == nil {
					p = append(p, tomldoc.Edit{Op: "add", Path: filterObject.path(args[0], "rules"), Value: []any{}})
				}
				return append(p, tomldoc.Edit{Op: "add", Path: path, Value: rule}), err
			}, err
		})
	cmd.Flags().StringVar(&before, "before", "", "before this `rule`")
	cmd.Flags().StringVar(&after, "after", "", "behind this `rule`")
	cmd.Flags().BoolVar(&first, "first", false, "before all rules")
	return cmd
}

// parseRule reads the arguments FILTER RULE KEY=VALUE... as a rule.
func parseRule(args []string) (*tomldoc.Table, error) {
	settings, err := parseSettings(ruleKeys(), args[2:])
	return tableOf(append([]setting{{"name", args[1]}}, settings...)), err
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
	const short = "Replace a rule by another one, at the same place; it keeps its counters if it keeps its name"
	return c.editCommand("replace FILTER RULE KEY=VALUE...", short, ruleKeys(), filterAndRule, func(_ *cobra.Command, args []string) (edit, error) {
		rule, err := parseRule(args)
		return ruleEdit("replace", args, rule), err
	})
}

func (c *client) ruleDel() *cobra.Command {
	return c.editCommand("del FILTER RULE", "Remove a rule of a filter", nil, exactly("the name of the filter", "the name of the rule"),
		func(_ *cobra.Command, args []string) (edit, error) { return ruleEdit("remove", args, nil), nil })
}

// ruleEdit does something with a rule that there is.
func ruleEdit(op string, args []string, value any) edit {
	return func(doc *tomldoc.Table) (tomldoc.Patch, error) {
		path, err := rulePath(doc, args[0], args[1])
		return tomldoc.Patch{{Op: op, Path: path, Value: value}}, err
	}
}
