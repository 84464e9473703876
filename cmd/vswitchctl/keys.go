package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"vswitchd/internal/nearest"
	"vswitchd/internal/tomldoc"
)

// The keys of the configuration, and their values on the command line.

// keysJSON is generated from the declarations of the keys, which are in packages that vswitchctl
// would be much larger with.
//
//go:embed keys.json
var keysJSON []byte

// A keyInfo is a key of the configuration.
type keyInfo struct {
	Name, Type, Live, Doc string
}

// keysOf returns the keys of a table, by its header with NAME for the name.
func keysOf(header string) []keyInfo {
	var tables []struct {
		Header string
		Keys   []keyInfo
	}
	if err := json.Unmarshal(keysJSON, &tables); err != nil {
		panic(err) // a test has read the list
	}
	for _, t := range tables {
		if t.Header == header {
			return t.Keys
		}
	}
	panic("there is no table " + header)
}

// find returns the key with the given name.
func find(keys []keyInfo, name string) (keyInfo, error) {
	i := slices.IndexFunc(keys, func(k keyInfo) bool { return k.Name == name })
	if i >= 0 {
		return keys[i], nil
	}
	var known []string
	for _, k := range keys {
		known = append(known, k.Name)
	}
	return keyInfo{}, fmt.Errorf("unknown key %q%s", name, nearest.Hint(name, known))
}

// A setting is an argument KEY=VALUE.
type setting struct {
	key   string
	value any // as in a tomldoc.Table
}

// parseSettings reads arguments KEY=VALUE.
func parseSettings(keys []keyInfo, args []string) (list []setting, err error) {
	for _, arg := range args {
		name, text, ok := strings.Cut(arg, "=")
		if !ok {
			return nil, fmt.Errorf("%q is not KEY=VALUE", arg)
		}
		k, err := find(keys, name)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(list, func(s setting) bool { return s.key == name }) {
			return nil, fmt.Errorf("%s is there twice", name)
		}
		v, err := k.parse(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		list = append(list, setting{name, v})
	}
	return list, nil
}

// isKey is the annotation of flags that are keys.
const isKey = "key"

// registerKeyFlags lets the keys be given as flags as well: --KEY VALUE. The flags are not listed,
// because the help lists the keys.
func registerKeyFlags(cmd *cobra.Command, keys []keyInfo) {
	for _, k := range keys {
		cmd.Flags().String(k.Name, "", k.Doc)
		f := cmd.Flags().Lookup(k.Name)
		f.Hidden = true
		f.Annotations = map[string][]string{isKey: nil}
	}
}

// keyFlags returns the keys that were given as flags, as KEY=VALUE.
func keyFlags(cmd *cobra.Command) (list []string) {
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if _, ok := f.Annotations[isKey]; ok {
			list = append(list, f.Name+"="+f.Value.String())
		}
	})
	return list
}

// parse reads a value: TOML, or a word without quotes, or a list without brackets. What is no value
// of the key's type is returned as a string, for vswitchd to say what is wrong with it.
func (k *keyInfo) parse(text string) (any, error) {
	if text != "" && strings.ContainsRune(`"'[{`, rune(text[0])) {
		v, err := parseTOML(text)
		if err != nil {
			return nil, fmt.Errorf("%s is not a value of TOML", text)
		}
		return v, nil
	}
	switch {
	case strings.HasPrefix(k.Type, "list"):
		list := []any{}
		for word := range strings.SplitSeq(text, ",") {
			if word = strings.TrimSpace(word); word == "" && len(text) == 0 {
				break
			}
			list = append(list, k.element(word))
		}
		return list, nil
	case strings.HasPrefix(k.Type, "string"):
		return text, nil
	}
	switch v, _ := parseTOML(text); v.(type) {
	case int64, bool:
		return v, nil
	}
	return text, nil
}

// element reads an element of a list.
func (k *keyInfo) element(word string) any {
	if n, err := strconv.ParseInt(word, 10, 64); err == nil && strings.HasPrefix(k.Type, "list of integers") {
		return n
	}
	return word
}

// parseTOML reads one value of TOML.
func parseTOML(text string) (any, error) {
	doc, err := tomldoc.Parse([]byte("v = " + text + "\n"))
	if err != nil {
		return nil, err
	}
	if len(doc.Entries) != 1 {
		return nil, fmt.Errorf("%q is more than one value", text)
	}
	return doc.Get("v"), nil
}

// keyHelp returns the help about keys, in at most 80 columns.
func keyHelp(keys []keyInfo) string {
	var b strings.Builder
	b.WriteString("Keys:\n")
	for _, k := range keys {
		if k.Live == "restart" {
			continue
		}
		doc := k.Type
		if k.Live != "at once" {
			doc += "; a change takes effect for the " + k.Live
		}
		fmt.Fprintf(&b, "  %s\n%s%s", k.Name, foldText(k.Doc, "      "), foldText("("+doc+")", "      "))
	}
	return b.String()
}

// foldText folds a text into lines of at most 80 columns that begin with indent.
func foldText(text, indent string) string {
	var b strings.Builder
	line := indent
	for word := range strings.FieldsSeq(text) {
		if line != indent && len([]rune(line))+1+len([]rune(word)) > 80 {
			b.WriteString(line + "\n")
			line = indent
		}
		if line != indent {
			line += " "
		}
		line += word
	}
	return b.String() + line + "\n"
}
