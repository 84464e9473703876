package config

import (
	"fmt"
	"strings"

	"vswitchd/internal/tomldoc"
)

// Running is a running configuration as a document: that of the file, with what the flags add, and
// as it has been edited since. It is not modified: Edit makes another one.
type Running struct {
	Document *tomldoc.Table

	kinds Kinds
	flags Flags // those that no document can express
}

// File names in the positions of a running configuration.
const (
	running   = "running configuration"
	inRequest = "in the request"
)

// maxRunning limits the text of a running configuration, in bytes, so that edits do not add up
// without limit.
const maxRunning = 16 << 20

// LoadRunning is Load, and also returns the configuration as a document.
func (ks Kinds) LoadRunning(path string, flags Flags) (*Config, *Running, Errors) {
	data, errs := read(path)
	if len(errs) > 0 {
		return nil, nil, errs
	}
	return ks.ParseRunning(path, data, flags)
}

// ParseRunning is LoadRunning for a file with the given text.
func (ks Kinds) ParseRunning(path string, data []byte, flags Flags) (*Config, *Running, Errors) {
	cfg, errs := ks.parse(path, data, flags)
	if len(errs) > 0 {
		return nil, nil, errs
	}
	doc, err := tomldoc.Parse(data)
	if err != nil { // never: it has just been parsed
		return nil, nil, Errors{{Pos: Pos{File: path}, Msg: err.Error()}}
	}
	return cfg, &Running{Document: doc, kinds: ks, flags: flags.addTo(doc)}, nil
}

// Edit returns the configuration after an edit. The document is checked by the code that reads the
// file. In the errors, what the patch has set is "in the request"; other positions are lines of the
// document's text. An error of the patch itself has no position.
func (r *Running) Edit(patch tomldoc.Patch) (*Config, *Running, error) {
	doc := r.Document.Clone()
	if err := patch.Apply(doc); err != nil {
		return nil, nil, err
	}
	text, fresh := doc.Render()
	if len(text) > maxRunning {
		return nil, nil, fmt.Errorf("the configuration would have more than %d MiB", maxRunning>>20)
	}
	p := &parser{kinds: r.kinds, file: running, cfg: defaults(), requested: fresh}
	cfg, errs := p.parse(text, r.flags)
	if len(errs) > 0 {
		return nil, nil, errs
	}
	return cfg, &Running{Document: doc, kinds: r.kinds, flags: r.flags}, nil
}

// addTo adds what the flags say to the document of the file, so that the document alone means what
// the file and the flags mean together. It returns the flags that no document can express.
func (f Flags) addTo(doc *tomldoc.Table) (rest Flags) {
	sub := func(t *tomldoc.Table, name string) *tomldoc.Table {
		if t.Table(name) == nil {
			t.Set(name, &tomldoc.Table{})
		}
		return t.Table(name)
	}
	set := func(table, key, value string) {
		if value != "" {
			sub(doc, table).Set(key, value)
		}
	}
	if f.single() && sub(doc, "control").Get("socket") == nil {
		sub(doc, "control").Set("socket", "")
	}
	set("control", "socket", f.Control)
	set("control", "metrics", f.Metrics)
	set("control", "status", f.Status)
	set("log", "level", f.LogLevel)
	set("log", "format", f.LogFormat)
	for _, arg := range f.Ports {
		name, path, hasSocket := strings.Cut(arg, "=")
		port := sub(sub(doc, guestTable), name)
		if hasSocket {
			port.Set("socket", path)
		}
	}
	for _, name := range f.Uplinks {
		sub(sub(doc, uplinkTable), name).Set("interface", name)
	}
	if f.SocketPath != "" {
		sub(sub(doc, guestTable), SinglePort).Set("socket", f.SocketPath)
	}
	return Flags{FD: f.FD, Accounts: f.Accounts}
}
