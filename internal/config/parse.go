package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"

	"vswitchd/internal/config/key"
	"vswitchd/internal/nearest"
	"vswitchd/internal/tomlpos"
)

// Load reads and checks a configuration file and applies the flags to it. If path is empty, only
// the flags are used.
func (ks Kinds) Load(path string, flags Flags) (*Config, Errors) {
	cfg, errs := ks.load(path, flags)
	if len(errs) > 0 {
		return nil, errs
	}
	return cfg, nil
}

// Examine is like Load, but also returns the configuration of a file with errors, in which invalid
// values are replaced by defaults. The configuration is nil if the file could not be read or
// parsed. If there are no errors, Examine also checks conditions that can change while vswitchd
// runs, such as an uplink whose interface does not exist, and adds them to the Warnings.
func (ks Kinds) Examine(path string, flags Flags) (*Config, Errors) {
	cfg, errs := ks.load(path, flags)
	if len(errs) == 0 {
		cfg.Warnings = append(cfg.Warnings, ks.lookAtHost(cfg)...).sorted()
	}
	return cfg, errs
}

// load is Load, but returns the configuration even if it has errors, unless the file could not be
// read or parsed.
func (ks Kinds) load(path string, flags Flags) (*Config, Errors) {
	data, errs := read(path)
	if len(errs) > 0 {
		return nil, errs
	}
	return ks.parse(path, data, flags)
}

// read returns the text of a file, which is empty if the path is.
func read(path string) ([]byte, Errors) {
	if path == "" {
		return nil, nil
	}
	data, err := os.ReadFile(path)
	if err != nil {
		var pe *os.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return nil, Errors{{Pos: Pos{File: path}, Msg: "cannot read the configuration: " + err.Error()}}
	}
	return data, nil
}

// Parse checks the text of a configuration file; name is the file's name in errors. It returns
// either a Config or all errors of the text, each with its line.
func (ks Kinds) Parse(name string, data []byte) (*Config, Errors) {
	cfg, errs := ks.parse(name, data, Flags{})
	if len(errs) > 0 {
		return nil, errs
	}
	return cfg, nil
}

// parse returns a configuration even if it has errors, unless they are syntax errors.
func (ks Kinds) parse(name string, data []byte, flags Flags) (*Config, Errors) {
	return (&parser{kinds: ks, file: name, cfg: defaults()}).parse(data, flags)
}

// parse is Kinds.parse, into the parser's configuration.
func (p *parser) parse(data []byte, flags Flags) (*Config, Errors) {
	for _, t := range p.cfg.tables() {
		*t.where = where{path: t.name, pos: Pos{File: p.file}}
	}
	doc, errs := p.decode(data)
	if len(errs) > 0 {
		return nil, errs
	}
	p.cfg.Control.Access.accounts, p.cfg.Switch.PortSockets.accounts = flags.Accounts, flags.Accounts
	if flags.single() {
		p.cfg.Control.Socket = ""
	}
	p.document(doc)
	p.flags(flags)
	p.crossCheck()
	p.kinds.sort(p.cfg.Ports)
	if len(p.errs) > 0 {
		return p.cfg, p.errs.sorted()
	}
	return p.cfg, nil
}

// parser walks a decoded document, fills in a Config and collects errors.
type parser struct {
	kinds   Kinds
	file    string
	cfg     *Config
	layout  tomlpos.Layout
	aliases map[string]tomlpos.Clash // generated names of second definitions
	errs    Errors

	requested func(line int) bool // what is in a line comes from a request; nil: nothing does
}

// pos returns the position of a line.
func (p *parser) pos(line int) Pos {
	if p.requested != nil && p.requested(line) {
		return Pos{File: inRequest}
	}
	return Pos{p.file, line}
}

// decode parses the document and finds its layout. The TOML library refuses a second definition of
// a key as a syntax error, which would hide all other errors. Therefore decode renames second
// definitions, and the walk over the document reports them.
func (p *parser) decode(data []byte) (doc map[string]any, errs Errors) {
	_, err := toml.Decode(string(data), &doc)
	p.layout = tomlpos.Find(data)
	if err == nil {
		return doc, nil
	}
	if len(p.layout.Clashes) > 0 {
		if doc := p.decodeRenamed(data); doc != nil {
			return doc, nil
		}
	}
	return nil, Errors{syntaxError(p.file, data, err, p.layout.Clashes)}
}

// decodeRenamed is decode for a document in which keys are defined twice. It returns nil if the
// document has other syntax errors.
func (p *parser) decodeRenamed(data []byte) (doc map[string]any) {
	renamed := slices.Clone(data)
	aliases := make(map[string]tomlpos.Clash)
	for i, c := range slices.Backward(p.layout.Clashes) {
		if !c.Twice {
			return nil
		}
		alias := fmt.Sprintf("second definition %d", i)
		aliases[alias] = c
		renamed = slices.Replace(renamed, c.Start, c.End, []byte(`"`+alias+`"`)...)
	}
	if _, err := toml.Decode(string(renamed), &doc); err != nil {
		return nil
	}
	p.layout, p.aliases = tomlpos.Find(renamed), aliases
	return doc
}

// syntaxError converts an error of the TOML library. The library stops at the first error and has
// no typed error for a key that clashes with another one. Therefore, if the first clash is at or
// before the position of the error, the error is taken to be about the clash.
func syntaxError(file string, data []byte, err error, clashes []tomlpos.Clash) Error {
	e := Error{Pos: Pos{File: file, Line: 1}, Msg: err.Error()}
	var pe toml.ParseError
	if errors.As(err, &pe) {
		// Position.Line is one too high where a line ends too early.
		start := min(max(pe.Position.Start, 0), len(data))
		end := min(start+max(pe.Position.Len, 0), len(data))
		e.Line = 1 + bytes.Count(data[:start], []byte("\n"))
		e.Key, e.Msg = pe.LastKey, pe.Message
		if len(clashes) > 0 && clashes[0].Line <= e.Line {
			e.Line, e.Key, e.Msg = clashes[0].Line, keyString(clashes[0].Path...), "defined twice"
		} else if number := string(data[start:end]); outOfRange(number) {
			e.Msg = number + " is too large or too small"
		}
	}
	e.Msg = strings.Join(strings.Fields(e.Msg), " ")
	e.Msg = strings.TrimPrefix(e.Msg, "toml: ")
	return e
}

// outOfRange reports whether a text is a number that is too large or too small for TOML. The
// library's message for this case names Go types.
func outOfRange(text string) bool {
	text = strings.ReplaceAll(text, "_", "")
	_, asInt := strconv.ParseInt(text, 0, 64)
	_, asFloat := strconv.ParseFloat(text, 64)
	return errors.Is(asInt, strconv.ErrRange) || errors.Is(asFloat, strconv.ErrRange)
}

// A table is a TOML table and its position.
type table struct {
	p    *parser
	path []string
	node *tomlpos.Node
	m    map[string]any
}

// keyString returns a path of keys in TOML's notation, with the indices of arrays added, which TOML
// does not have.
func keyString(path ...string) string {
	parts := make([]string, len(path))
	for i, k := range path {
		parts[i] = k
		if !plainKey.MatchString(k) {
			parts[i] = strconv.Quote(k)
		}
	}
	return strings.Join(parts, ".")
}

var plainKey = regexp.MustCompile(`^[A-Za-z0-9_-]+(\[\d+\])?$`)

// errorf reports an error about the key k of the table.
func (t *table) errorf(k, format string, args ...any) {
	t.p.errs = append(t.p.errs, t.at(k, format, args...))
}

func (t *table) at(k, format string, args ...any) Error {
	return Error{
		Pos: t.p.pos(max(t.node.Kid(k).Line, 1)),
		Key: keyString(append(slices.Clone(t.path), k)...),
		Msg: fmt.Sprintf(format, args...),
	}
}

// where returns the positions of the table and of its keys.
func (t *table) where() where {
	w := where{path: keyString(t.path...), pos: t.p.pos(t.node.Line), keys: make(map[string]Pos)}
	for k := range t.m {
		w.keys[k] = t.p.pos(t.node.Kid(k).Line)
	}
	return w
}

// names returns the keys of the table in the order of the file. Second definitions are reported and
// omitted.
func (t *table) names() []string {
	names := t.allNames()
	return slices.DeleteFunc(names, func(k string) bool {
		_, twice := t.original(k)
		return twice
	})
}

// allNames returns the keys of the table in the order of the file. Second definitions are reported
// and included under their aliases.
func (t *table) allNames() []string {
	names := make([]string, 0, len(t.m))
	for k := range t.m {
		names = append(names, k)
	}
	slices.SortFunc(names, func(a, b string) int {
		if d := t.node.Kid(a).Offset - t.node.Kid(b).Offset; d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	for _, k := range names {
		if d, twice := t.p.aliases[k]; twice {
			t.p.errs = append(t.p.errs, Error{
				Pos: Pos{t.p.file, d.Line},
				Key: keyString(append(slices.Clone(t.path), d.Name())...),
				Msg: fmt.Sprintf("defined twice, first in line %d", d.First),
			})
		}
	}
	return names
}

// original returns the name in the file of a key that allNames returned, and whether the key is a
// second definition.
func (t *table) original(k string) (name string, twice bool) {
	if d, ok := t.p.aliases[k]; ok {
		return d.Name(), true
	}
	return k, false
}

// read checks and stores all keys of the table, and reports whether all are valid. elsewhere, which
// may be nil, returns the error text for a key that this table does not have but another one has,
// and otherwise "".
func (t *table) read(keys []key.Key, elsewhere func(name string) string) bool {
	keys = slices.DeleteFunc(keys, func(k key.Key) bool { return k.Flag })
	before := len(t.p.errs)
	for _, name := range t.names() {
		k := key.Find(keys, name)
		if k == nil {
			t.unknown(name, keys, elsewhere)
			continue
		}
		if err := k.Set(t.m[name]); err != nil {
			t.errorf(name, "%v", err)
		}
	}
	return len(t.p.errs) == before
}

// unknown reports a key that the table does not have.
func (t *table) unknown(name string, keys []key.Key, elsewhere func(name string) string) {
	if elsewhere != nil {
		if hint := elsewhere(name); hint != "" {
			t.errorf(name, "%s", hint)
			return
		}
	}
	known := make([]string, len(keys))
	for i, k := range keys {
		known[i] = k.Name
	}
	msg := "unknown key"
	msg += nearest.Hint(name, known)
	if _, isTable := t.m[name].(map[string]any); isTable && len(t.path) == 2 {
		full := t.path[1] + "." + name
		msg += fmt.Sprintf("; a name with a dot is written [%s.%q]", t.path[0], full)
	}
	t.errorf(name, "%s", msg)
}

// sub returns the table that is the value of a key, or reports an error if the value is not a
// table.
func (t *table) sub(k, want string) (*table, bool) {
	m, ok := t.m[k].(map[string]any)
	if !ok {
		t.errorf(k, "is %s, must be a table %s", key.KindOf(t.m[k]), want)
		return nil, false
	}
	name, _ := t.original(k)
	return &table{t.p, append(slices.Clone(t.path), name), t.node.Kid(k), m}, true
}
