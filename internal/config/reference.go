package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"vswitchd/internal/config/key"
	vswitch "vswitchd/switch"
)

// This file generates the reference page and the sample file from the declarations.

// A section is a table in the documentation, whose keys are bound to defaults.
type section struct {
	header  string // with a placeholder, for the reference: [log], [port.NAME]
	example string // the header in the sample: [port.vm1]
	doc     string
	keys    []key.Key
	common  bool // the table also has the keys of all ports
}

func (ks Kinds) sections() (list []section) {
	cfg := defaults()
	for _, t := range cfg.tables() {
		header := "[" + t.name + "]"
		list = append(list, section{header: header, example: header, doc: t.doc, keys: t.keys})
	}
	for _, k := range ks {
		p := newPort(k, k.Example, &cfg.Switch)
		list = append(list, section{
			header: "[" + k.Table + ".NAME]", example: "[" + k.Table + "." + k.Example + "]", doc: k.Doc,
			keys: p.Settings.Keys(&p.PortConfig), common: true,
		})
	}
	e := new(FDBEntry)
	list = append(list, section{header: "[[fdb]]", example: "[[fdb]]", doc: "A static FDB entry; there may be any number.", keys: e.keys()})
	g := new(MDBEntry)
	list = append(list, section{header: "[[mdb]]", example: "[[mdb]]", keys: g.keys(),
		doc: "A port that is a member of a multicast group for good; there may be any number. See [layer 2](layer2.md#multicast-snooping)."})
	n := new(Neighbor)
	list = append(list, section{header: "[[neigh]]", example: "[[neigh]]", keys: n.keys(),
		doc: "The MAC address that has an IP address, for ports with `neigh_suppress`; there may be any number. See [layer 2](layer2.md#neighbor-suppression)."})
	m, f, s := new(Mirror), new(Filter), new(Set)
	return append(list,
		section{header: "[mirror.NAME]", example: "[mirror.m1]", keys: m.Keys(),
			doc: "A mirror, which copies frames of some ports to another one; there may be up to 32."},
		section{header: "[filter.NAME]", example: "[filter.web]", keys: f.keys(),
			doc: "A filter, which ports name by `ingress_filter` and `egress_filter`, and mirrors by `filter`. See [layer 2](layer2.md#filters)."},
		section{header: "[[filter.NAME.rules]]", example: "[[filter.web.rules]]", keys: RuleKeys(new(vswitch.FilterRule)),
			doc: "A rule of a filter; there may be up to 4096, of which the first one that matches decides. " +
				"Rules may also be written as `rules = [{...}, ...]` in `[filter.NAME]`. " +
				"A list may be replaced by its only element; an empty list matches any frame."},
		section{header: "[set.NAME]", example: "[set.admins]", keys: s.Keys(),
			doc: "A set of addresses and ports, which rules of filters name as `@NAME`. `vswitchctl set add` and `vswitchctl set del` change sets while vswitchd runs."})
}

// commonKeys returns the keys of all ports.
func commonKeys() []key.Key {
	p := Port{PortConfig: vswitch.DefaultPortConfig("")}
	return p.portKeys()
}

// referenceAbout is the introduction of the page, one element per paragraph.
var referenceAbout = []string{
	"vswitchd reads `" + DefaultFile + "`, or the file that `--config` names; it is [TOML](https://toml.io). " +
		"`vswitchd --check --config FILE` lists everything that is wrong with a file. " +
		"SIGHUP and `vswitchctl reload` apply a changed file: a change of a key takes effect *at once*, " +
		"for the *next front-end* that connects to the port, or not before a *restart*, " +
		"in which case the whole file is refused.",
	"This page and [a sample](../qemu-examples/vswitchd.toml) are generated from the declarations of the keys: " +
		"`go test ./cmd/vswitchd -run Reference -update` regenerates both.",
}

// fold wraps a paragraph into lines of at most 100 columns.
func fold(text string) string {
	const columns = 100
	var b strings.Builder
	at := 0
	for word := range strings.FieldsSeq(text) {
		switch n := utf8.RuneCountInString(word); {
		case at == 0:
			at = n
		case at+1+n > columns:
			b.WriteByte('\n')
			at = n
		default:
			b.WriteByte(' ')
			at += 1 + n
		}
		b.WriteString(word)
	}
	b.WriteByte('\n')
	return b.String()
}

// Reference returns docs/configuration.md.
func (ks Kinds) Reference() string {
	var b strings.Builder
	b.WriteString("# Configuration\n")
	for _, paragraph := range referenceAbout {
		b.WriteString("\n" + fold(paragraph))
	}
	var tables []string
	for _, s := range ks.sections() {
		doc := s.doc
		if s.common {
			doc += " Besides these keys it has [those of all ports](#all-ports)."
			tables = append(tables, "`"+s.header+"`")
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", s.header, fold(doc))
		writeTable(&b, s.keys)
	}
	fmt.Fprintf(&b, "\n## All ports\n\nKeys of %s.\n\n", strings.Join(tables, ", "))
	writeTable(&b, commonKeys())
	return b.String()
}

func writeTable(b *strings.Builder, keys []key.Key) {
	b.WriteString("| key | type | default | a change takes effect | |\n|---|---|---|---|---|\n")
	for _, k := range shown(keys) {
		def := k.Default
		switch {
		case k.Required:
			def = "none, it is required"
		case def == "":
			def = "`" + key.TOML(k.Get()) + "`"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s | %s |\n", k.Name, k.Type, def, k.Live, k.Doc)
	}
}

// shown returns the keys that an operator can use.
func shown(keys []key.Key) []key.Key {
	return slices.DeleteFunc(slices.Clone(keys), func(k key.Key) bool { return k.Flag })
}

// layer2 is a link to the page about layer 2.
var layer2 = regexp.MustCompile(`\[layer 2\]\(layer2\.md#[a-z-]*\)`)

// Sample returns a sample file in which everything is commented out: comments begin with "# ", and
// commented-out TOML begins with "#" without a space. Every value is the key's default, or an
// example if the key has no default.
func (ks Kinds) Sample() string {
	var b strings.Builder
	b.WriteString("# A sample configuration of vswitchd, for " + DefaultFile + ". It has every key, with its default.\n" +
		"# docs/configuration.md describes the keys in more detail.\n")
	for _, s := range ks.sections() {
		fmt.Fprintf(&b, "\n# %s\n#%s\n", s.doc, s.example)
		keys := s.keys
		if s.common {
			keys = slices.Concat(keys, commonKeys())
		}
		for _, k := range shown(keys) {
			value := k.Example
			if value == "" {
				value = key.TOML(k.Get())
			}
			fmt.Fprintf(&b, "#%s = %s # %s\n", k.Name, value, k.Doc)
		}
	}
	text := strings.ReplaceAll(b.String(), "[control API](control-api.md)", "control API")
	return layer2.ReplaceAllString(text, "docs/layer2.md")
}
