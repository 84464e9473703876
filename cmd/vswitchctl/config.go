package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"vswitchd/internal/control"
	"vswitchd/internal/layout"
	"vswitchd/internal/tomldoc"
)

// Commands about the configuration as a whole.

func (c *client) configShow() *cobra.Command {
	var diff bool
	cmd := &cobra.Command{
		Use:   "show",
		Short: "Show the configuration that runs, as TOML, or how it differs from the file",
		Args:  atMost(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			if diff {
				return get(cmd, c, "/v1/config", printDifferences)
			}
			return get(cmd, c, "/v1/config", func(w *layout.Page, info control.ConfigInfo) { fmt.Fprint(w, info.Text) })
		},
	}
	cmd.Flags().BoolVar(&diff, "diff", false, "only what differs from the file")
	return cmd
}

// printDifferences prints what differs between the file and what runs, by key.
func printDifferences(w *layout.Page, info control.ConfigInfo) {
	switch f := info.File; {
	case f == nil:
		fmt.Fprintln(w, "there is no configuration file")
	case f.Error != "":
		fmt.Fprintf(w, "a reload would be refused:\n%s\n", f.Error)
	case len(info.Differences) == 0:
		fmt.Fprintf(w, "what runs is what %s says\n", f.Path)
		return
	default:
		fmt.Fprintf(w, "file: %s\n\n", f.Path)
	}
	base := &tomldoc.Table{}
	if info.File != nil && info.File.Document != nil {
		base = info.File.Document.Clone()
	}
	var rows [][]string
	for _, e := range eachTable(info.Differences, base) {
		row := []string{keyPath(e.Path), "-", "-"}
		if v, err := base.At(e.Path); err == nil && !(e.Op == "add" && isIndex(e.Path)) {
			row[1] = tomldoc.Literal(v)
		}
		if e.Op != "remove" {
			row[2] = tomldoc.Literal(e.Value)
		}
		if list := e.Path[:len(e.Path)-1]; isValues(base, list) { // lists of values are shown as a whole
			was, _ := base.At(list)
			runs, err := info.Document.At(list)
			row = []string{keyPath(list), tomldoc.Literal(was), "-"}
			if err == nil {
				row[2] = tomldoc.Literal(runs)
			}
		}
		if n := len(rows); n == 0 || rows[n-1][0] != row[0] || rows[n-1][2] != row[2] {
			rows = append(rows, row)
		}
		_ = tomldoc.Patch{e}.Apply(base) // fails for what the command line adds, which is not in the file
	}
	if len(rows) > 0 {
		w.Table([]layout.Column{{Title: "KEY", Fold: 15}, {Title: "FILE", Fold: 15}, {Title: "RUNS", Fold: 15}}, rows)
	}
}

// isValues reports whether there is a list at a path that has no tables.
func isValues(doc *tomldoc.Table, p tomldoc.Path) bool {
	v, err := doc.At(p)
	list, ok := v.([]any)
	return err == nil && ok && !slices.ContainsFunc(list, func(e any) bool {
		_, isTable := e.(*tomldoc.Table)
		return isTable
	})
}

// eachTable returns a patch in which the tables of a kind, or the entries of a list, that are added
// or removed at once are edits each.
func eachTable(patch []tomldoc.Edit, base *tomldoc.Table) (p tomldoc.Patch) {
	for _, e := range patch {
		v := e.Value
		if e.Op == "remove" && len(e.Path) == 1 {
			v = base.Get(e.Path[0])
		}
		switch v := v.(type) {
		case *tomldoc.Table:
			if len(e.Path) == 1 {
				for _, sub := range v.Entries {
					p = append(p, tomldoc.Edit{Op: e.Op, Path: append(e.Path[:1:1], sub.Key), Value: sub.Value})
				}
				continue
			}
		case []any:
			if len(e.Path) == 1 {
				for i, elem := range v {
					if e.Op == "remove" {
						i = 0
					}
					p = append(p, tomldoc.Edit{Op: e.Op, Path: append(e.Path[:1:1], strconv.Itoa(i)), Value: elem})
				}
				continue
			}
		}
		p = append(p, e)
	}
	return p
}

// isIndex reports whether a path ends with the index of an array.
func isIndex(p tomldoc.Path) bool { return strings.Trim(p[len(p)-1], "0123456789") == "" }

// keyPath returns a path as errors about the configuration show it: port.vm1.tag, fdb[0].mac.
func keyPath(p tomldoc.Path) string {
	var b strings.Builder
	for i, part := range p {
		switch {
		case i > 0 && (p[0] == "fdb" || p[0] == "mdb" || p[0] == "neigh" || i == 3) && isIndex(p[:i+1]):
			b.WriteString("[" + part + "]")
		case i > 0:
			b.WriteString("." + part)
		default:
			b.WriteString(part)
		}
	}
	return b.String()
}

func (c *client) configSave() *cobra.Command {
	return &cobra.Command{
		Use:   "save",
		Short: "Change the configuration file so that it says what runs",
		Long: "Change the configuration file so that it says what runs, and keep its comments\n" +
			"and its order. What the command line of vswitchd adds is not saved.",
		Args: atMost(0),
		RunE: func(cmd *cobra.Command, args []string) error {
			info, err := c.config(cmd)
			switch {
			case err != nil:
				return failure{err}
			case info.File == nil:
				return failure{errors.New("cannot save: vswitchd was started without a configuration file")}
			case info.File.Error != "":
				return failure{fmt.Errorf("cannot save in %s, which has errors:\n%s", info.File.Path, info.File.Error)}
			}
			file, err := c.prepareFile(cmd, info, func(*tomldoc.Table) (tomldoc.Patch, error) {
				return tomldoc.Patch(info.Differences), nil
			})
			if err != nil {
				return failure{err}
			}
			defer file.discard()
			if err := file.commit(); err != nil {
				return failure{fmt.Errorf("nothing is saved: %w", err)}
			}
			body, err := json.Marshal(savedFile{info.File.Path, info.Differences})
			return show(c, body, err, printSaved)
		},
	}
}

// savedFile is what `config save -j` prints.
type savedFile struct {
	File  string                     `json:"file"`
	Saved control.List[tomldoc.Edit] `json:"saved"`
}

func printSaved(w *layout.Page, s savedFile) {
	if len(s.Saved) == 0 {
		fmt.Fprintf(w, "%s says what runs already\n", s.File)
		return
	}
	for _, e := range eachTable(s.Saved, &tomldoc.Table{}) {
		fmt.Fprintf(w, "%s: %s\n", s.File, byHand(tomldoc.Patch{e})[2:])
	}
}
