package config

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"vswitchd/internal/config/key"
	vswitch "vswitchd/switch"
)

// This file generates the reference page and the sample file from the declarations.

// A Section is a table in the documentation, whose keys are bound to defaults.
type Section struct {
	Header string    // with a placeholder: [log], [port.NAME], [[filter.NAME.rules]]
	Doc    string    // one or more sentences of Markdown
	Keys   []key.Key // without those of all ports

	example string // the header in the sample: [port.vm1]
	common  bool   // the table also has the keys of all ports
}

// AllKeys returns the keys that the table can have in a file.
func (s *Section) AllKeys() []key.Key {
	keys := s.Keys
	if s.common {
		keys = slices.Concat(keys, commonKeys())
	}
	return shown(keys)
}

// Sections returns all tables that a configuration may have, in the order of the documentation.
func (ks Kinds) Sections() (list []Section) {
	cfg := defaults()
	for _, t := range cfg.tables() {
		header := "[" + t.name + "]"
		list = append(list, Section{Header: header, example: header, Doc: t.doc, Keys: t.keys})
	}
	for _, k := range ks {
		p := newPort(k, k.Example, &cfg.Switch)
		list = append(list, Section{
			Header: "[" + k.Table + ".NAME]", example: "[" + k.Table + "." + k.Example + "]", Doc: k.Doc,
			Keys: p.Settings.Keys(&p.PortConfig), common: true,
		})
	}
	e := new(FDBEntry)
	list = append(list, Section{Header: "[[fdb]]", example: "[[fdb]]", Doc: "A static FDB entry; there may be any number.", Keys: e.keys()})
	g := new(MDBEntry)
	list = append(list, Section{Header: "[[mdb]]", example: "[[mdb]]", Keys: g.keys(),
		Doc: "A port that is a member of a multicast group for good; there may be any number. See [layer 2](layer2.md#multicast-snooping)."})
	n := new(Neighbor)
	list = append(list, Section{Header: "[[neigh]]", example: "[[neigh]]", Keys: n.keys(),
		Doc: "The MAC address that has an IP address, for ports with `neigh_suppress`; there may be any number. See [layer 2](layer2.md#neighbor-suppression)."})
	m, f, s := new(Mirror), new(Filter), new(Set)
	return append(list,
		Section{Header: "[mirror.NAME]", example: "[mirror.m1]", Keys: m.Keys(),
			Doc: "A mirror, which copies frames of some ports to another one; there may be up to 32."},
		Section{Header: "[filter.NAME]", example: "[filter.web]", Keys: f.keys(),
			Doc: "A filter, which ports name by `ingress_filter` and `egress_filter`, and mirrors by `filter`. See [layer 2](layer2.md#filters)."},
		Section{Header: "[[filter.NAME.rules]]", example: "[[filter.web.rules]]", Keys: RuleKeys(new(vswitch.FilterRule)),
			Doc: "A rule of a filter; there may be up to 4096, of which the first one that matches decides. " +
				"Rules may also be written as `rules = [{...}, ...]` in `[filter.NAME]`. " +
				"A list may be replaced by its only element; an empty list matches any frame."},
		Section{Header: "[set.NAME]", example: "[set.admins]", Keys: s.Keys(),
			Doc: "A set of addresses and ports, which rules of filters name as `@NAME`. `vswitchctl set add` and `vswitchctl set del` change sets while vswitchd runs."})
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
		"SIGHUP and `vswitchctl reload` apply a changed file, and commands such as `vswitchctl port set` change " +
		"what runs: a change of a key takes effect *at once*, " +
		"for the *next front-end* that connects to the port, or not before a *restart*, " +
		"in which case the whole file, or the command, is refused.",
	"Commands and the [control API](control-api.md#editing-the-configuration) " +
		"change what runs until the next reload or restart; with `--save`, they change the file, too.",
	"Everything has a default: a file needs a table for each port and uplink, and otherwise only what is to be different. " +
		"A table or key that does not exist is an error. " +
		"Names of ports, filters, sets and mirrors have 1 to 15 letters, digits and `. _ -`.",
	"Durations have units (`\"300s\"`, `\"5m\"`, `\"50us\"`). Sizes are in bytes, with binary units (`\"64KiB\"`, `\"1TiB\"`). " +
		"Rates are in bits per second, with decimal units (`\"10M\"`, `\"1G\"`). " +
		"Lists of VLANs and of transport ports may have ranges (`[5, \"10-20\"]`).",
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
	b.WriteString("\n" + fold("The tables: "+ks.contents()+"."))
	var tables []string
	for _, s := range ks.Sections() {
		doc := s.Doc
		if s.common {
			doc += " Besides these keys it has [those of all ports](#all-ports)."
			tables = append(tables, "`"+s.Header+"`")
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", s.Header, fold(doc))
		writeTable(&b, s.Keys)
	}
	fmt.Fprintf(&b, "\n## All ports\n\nKeys of %s.\n\n", strings.Join(tables, ", "))
	writeTable(&b, commonKeys())
	return b.String()
}

// contents returns links to all tables.
func (ks Kinds) contents() string {
	var links []string
	for _, s := range ks.Sections() {
		anchor := strings.NewReplacer("[", "", "]", "", ".", "").Replace(strings.ToLower(s.Header))
		links = append(links, "[`"+strings.Trim(s.Header, "[]")+"`](#"+anchor+")")
	}
	return strings.Join(append(links, "and keys of [all ports](#all-ports)"), ", ")
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
	for _, s := range ks.Sections() {
		fmt.Fprintf(&b, "\n# %s\n#%s\n", s.Doc, s.example)
		for _, k := range s.AllKeys() {
			value := k.Example
			if value == "" {
				value = key.TOML(k.Get())
			}
			fmt.Fprintf(&b, "#%s = %s # %s\n", k.Name, value, k.Doc)
		}
	}
	return plain(b.String())
}

// KeyList returns the list of all tables and their keys in JSON, for programs that cannot depend on
// the declarations.
func (ks Kinds) KeyList() string {
	type listedKey struct {
		Name string `json:"name"`
		Type string `json:"type"` // begins with "string", "integer", "boolean" or "list"
		Live string `json:"live"` // when a change takes effect
		Doc  string `json:"doc"`
	}
	type listedTable struct {
		Header string      `json:"header"`
		Keys   []listedKey `json:"keys"`
	}
	var tables []listedTable
	for _, s := range ks.Sections() {
		t := listedTable{Header: s.Header}
		for _, k := range s.AllKeys() {
			t.Keys = append(t.Keys, listedKey{k.Name, k.Type, k.Live.String(), plain(k.Doc)})
		}
		tables = append(tables, t)
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "\t")
	if err := e.Encode(tables); err != nil {
		panic(err) // strings can be encoded
	}
	return b.String()
}

// plain returns a line of documentation without links.
func plain(doc string) string {
	doc = strings.ReplaceAll(doc, "[control API](control-api.md)", "control API")
	return layer2.ReplaceAllString(doc, "docs/layer2.md")
}
