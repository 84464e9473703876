package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"vswitchd/internal/control"
	"vswitchd/internal/layout"
	"vswitchd/internal/nearest"
	"vswitchd/internal/tomldoc"
)

// Commands that edit the configuration.

// editFlags are the flags of commands that edit the configuration.
type editFlags struct {
	dryRun, save bool
}

func (f *editFlags) register(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&f.dryRun, "dry-run", false, "change nothing, but say what would change")
	cmd.Flags().BoolVar(&f.save, "save", false, "change the configuration file as well; otherwise the\nchange lasts until the next reload or restart")
}

// saveFlag adds the flag --save to a command that changes a table by hand.
func saveFlag(cmd *cobra.Command, save *bool) {
	cmd.Flags().BoolVar(save, "save", false, "make the change one of the configuration, and change the file as well;\notherwise the change lasts until vswitchd ends")
}

// An edit returns the patch that makes a change of a configuration. It is called for what runs and,
// with --save, for the file, whose arrays can have other elements.
type edit func(doc *tomldoc.Table) (tomldoc.Patch, error)

// edit changes what runs, and the file with --save. The file is prepared and checked first, then
// the change is made, and the file is replaced last.
func (c *client) edit(cmd *cobra.Command, f *editFlags, change edit) error {
	info, err := c.config(cmd)
	if err != nil {
		return failure{err}
	}
	patch, err := change(info.Document)
	if err != nil {
		return failure{err}
	}
	var file *newFile
	if f.save {
		if file, err = c.prepareFile(cmd, info, change); err != nil {
			return failure{fmt.Errorf("%w\nnothing has changed, and nothing is saved", err)}
		}
		defer file.discard()
	}
	body, err := control.NewClient(c.socket).EditConfig(cmd.Context(), patch, info.Revision, f.dryRun)
	if err != nil {
		return failure{err}
	}
	saved := ""
	if f.save && !f.dryRun {
		if file.temp != "" {
			saved = info.File.Path
		}
		if err := file.commit(); err != nil {
			return failure{fmt.Errorf("the change has been made, but is not saved: %w", err)}
		}
	}
	return show(c, body, nil, func(w *layout.Page, change control.ConfigChange) {
		if f.dryRun && len(change.Changed)+len(change.Warnings) > 0 {
			fmt.Fprintln(w, "nothing has changed; without --dry-run:")
		}
		printChange(w, change)
		if file != nil && file.bad != nil {
			fmt.Fprintf(w, "%s %s, as it was before\n", w.Styled(layout.Doubt, "warning:"), file.bad)
		}
		if saved != "" {
			fmt.Fprintln(w, "saved in", saved)
		}
	})
}

// config returns the configuration.
func (c *client) config(cmd *cobra.Command) (info control.ConfigInfo, err error) {
	body, err := control.NewClient(c.socket).Get(cmd.Context(), "/v1/config")
	if err == nil {
		err = json.Unmarshal(body, &info)
	}
	return info, err
}

func printChange(w *layout.Page, r control.ConfigChange) {
	if len(r.Changed) == 0 {
		fmt.Fprintln(w, "nothing has changed")
	}
	for _, line := range r.Changed {
		fmt.Fprintln(w, line)
	}
	for _, line := range r.Warnings {
		fmt.Fprintln(w, w.Styled(layout.Doubt, "warning:"), line)
	}
}

// An object is a kind of table [TABLE.NAME], with the commands that add, set and delete one.
type object struct {
	table string // in the configuration, and the noun of the commands
	what  string // in help texts and errors: "port"
}

var (
	portObject   = object{"port", "port"}
	uplinkObject = object{"uplink", "uplink"}
	hostObject   = object{"host", "host port"}
	mirrorObject = object{"mirror", "mirror"}
	filterObject = object{"filter", "filter"}
	setObject    = object{"set", "set"}
)

// portObjects are the kinds of port.
var portObjects = []object{portObject, uplinkObject, hostObject}

func (o object) keys() []keyInfo { return keysOf("[" + o.table + ".NAME]") }

// exists returns an error unless there is a table of that name.
func (o object) exists(doc *tomldoc.Table, name string) error {
	tables := doc.Table(o.table)
	if tables == nil {
		tables = &tomldoc.Table{}
	}
	if tables.Table(name) == nil {
		for _, other := range portObjects {
			if other != o && slices.Contains(portObjects, o) && doc.Table(other.table) != nil && doc.Table(other.table).Table(name) != nil {
				return fmt.Errorf("%s is not in [%s.%s], but in [%s.%s]: use vswitchctl %s", name, o.table, name, other.table, name, other.table)
			}
		}
		return fmt.Errorf("there is no %s %q%s", o.what, name, nearest.Hint(name, tables.Keys()))
	}
	return nil
}

// path returns the path of the table of that name, and of a key in it.
func (o object) path(name string, key ...string) tomldoc.Path {
	return append(tomldoc.Path{o.table, name}, key...)
}

// named checks that the first argument is a name.
func named(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) == 0 || args[0] == "" || strings.Contains(args[0], "=") {
			return errors.New("the name of the " + what + " is missing")
		}
		return nil
	}
}

// editCommand returns a command that edits the configuration. Its help lists the keys that can be
// arguments. The error of change is about the command line.
func (c *client) editCommand(use, short string, keys []keyInfo, args cobra.PositionalArgs, change func(cmd *cobra.Command, args []string) (edit, error)) *cobra.Command {
	var f editFlags
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  args,
		RunE: func(cmd *cobra.Command, args []string) error {
			e, err := change(cmd, args)
			if err != nil {
				return err
			}
			return c.edit(cmd, &f, e)
		},
	}
	if len(keys) > 0 {
		cmd.Long = foldText(short+".", "") + "\n" + keyHelp(keys)
	}
	f.register(cmd)
	return cmd
}

func (c *client) objectAdd(o object) *cobra.Command {
	cmd := c.editCommand("add NAME [KEY=VALUE]...", "Add a "+o.what, o.keys(), named(o.what), func(cmd *cobra.Command, args []string) (edit, error) {
		settings, err := parseSettings(o.keys(), append(args[1:], keyFlags(cmd)...))
		return o.adds(args[0], tableOf(settings)), err
	})
	registerKeyFlags(cmd, o.keys())
	cmd.Long += "\nA key can be a flag as well: --KEY VALUE.\n"
	return cmd
}

// adds returns the edit that adds a table.
func (o object) adds(name string, t *tomldoc.Table) edit {
	return func(doc *tomldoc.Table) (tomldoc.Patch, error) {
		if o.exists(doc, name) == nil {
			return nil, fmt.Errorf("there is a %s %q already", o.what, name)
		}
		return tomldoc.Patch{{Op: "add", Path: o.path(name), Value: t}}, nil
	}
}

func tableOf(settings []setting) *tomldoc.Table {
	t := &tomldoc.Table{}
	for _, s := range settings {
		t.Set(s.key, s.value)
	}
	return t
}

func (c *client) objectSet(o object) *cobra.Command {
	return c.setCommand("set NAME [KEY=VALUE]...", "Change keys of a "+o.what, o.keys(), named(o.what), 1,
		func(doc *tomldoc.Table, args []string) (tomldoc.Path, error) {
			return o.path(args[0]), o.exists(doc, args[0])
		})
}

// setCommand returns a command that sets and unsets keys of a table, whose path at returns. The
// first n arguments are for at, the others are settings.
func (c *client) setCommand(use, short string, keys []keyInfo, args cobra.PositionalArgs, n int,
	at func(doc *tomldoc.Table, args []string) (tomldoc.Path, error)) *cobra.Command {
	var unset []string
	cmd := c.editCommand(use, short, keys, args, func(_ *cobra.Command, args []string) (edit, error) {
		settings, err := parseSettings(keys, args[n:])
		for _, name := range unset {
			if _, unknown := find(keys, name); err == nil {
				err = unknown
			}
		}
		if err == nil && len(settings)+len(unset) == 0 {
			err = errors.New("nothing is to be set: KEY=VALUE, or --unset KEY")
		}
		return func(doc *tomldoc.Table) (tomldoc.Patch, error) {
			path, err := at(doc, args[:n])
			return setPatch(doc, path, settings, unset), err
		}, err
	})
	cmd.Flags().StringArrayVar(&unset, "unset", nil, "give this `key` its default; may be repeated")
	return cmd
}

// setPatch sets keys of the table at a path, and unsets those that are set.
func setPatch(doc *tomldoc.Table, path tomldoc.Path, settings []setting, unset []string) (p tomldoc.Patch) {
	key := func(name string) tomldoc.Path { return append(path[:len(path):len(path)], name) }
	for _, name := range unset {
		if _, err := doc.At(key(name)); err == nil {
			p = append(p, tomldoc.Edit{Op: "remove", Path: key(name)})
		}
	}
	for _, s := range settings {
		p = append(p, tomldoc.Edit{Op: "add", Path: key(s.key), Value: s.value})
	}
	return p
}

func (c *client) objectDel(o object, verb string) *cobra.Command {
	return c.editCommand(verb+" NAME...", "Remove a "+o.what, nil, named(o.what), func(_ *cobra.Command, args []string) (edit, error) {
		return func(doc *tomldoc.Table) (p tomldoc.Patch, _ error) {
			for _, name := range args {
				if err := o.exists(doc, name); err != nil {
					return nil, err
				}
				p = append(p, tomldoc.Edit{Op: "remove", Path: o.path(name)})
			}
			return p, nil
		}, nil
	})
}

// singleSet changes keys of a table that occurs once.
func (c *client) singleSet(table, short string) *cobra.Command {
	return c.setCommand("set [KEY=VALUE]...", short, keysOf("["+table+"]"), cobra.ArbitraryArgs, 0,
		func(*tomldoc.Table, []string) (tomldoc.Path, error) { return tomldoc.Path{table}, nil })
}
