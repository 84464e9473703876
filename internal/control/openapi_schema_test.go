package control_test

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"vswitchd/internal/control"
	"vswitchd/internal/tomldoc"
)

// JSON Schema for the values of the API, made from the Go types: names and types of fields by
// reflection, descriptions and the values of enumerations from the source.

type obj = map[string]any

// schemas makes the schemas of types.
type schemas struct {
	*testing.T
	source     *source
	strict     bool // no other fields than those of the types
	components obj  // of structs, by name
}

// plain are the schemas of types that encode themselves.
var plain = map[reflect.Type]obj{
	reflect.TypeFor[time.Time]():         {"type": "string", "format": "date-time"},
	reflect.TypeFor[control.Tally]():     {"type": "object", "additionalProperties": obj{"type": "integer", "minimum": 0}},
	reflect.TypeFor[control.PortRange](): {"type": []string{"string", "integer"}},
	reflect.TypeFor[control.Settings]():  {"type": "object", "description": "Keys of the configuration, with their values as in the file."},
	reflect.TypeFor[json.RawMessage]():   {"type": "object", "description": "A document of a hand-over."},
	reflect.TypeFor[tomldoc.Table]():     {"type": "object", "description": "A document with the tables and keys of the configuration file."},
	reflect.TypeFor[tomldoc.Edit]():      {"$ref": "#/components/schemas/Edit"},
}

// edit is the schema of an edit of the configuration.
var edit = obj{
	"type": "object", "required": []string{"op", "path"}, "additionalProperties": false,
	"description": "An edit of a document: an operation of a JSON Patch (RFC 6902).",
	"properties": obj{
		"op":    obj{"type": "string", "enum": []string{"add", "remove", "replace", "move", "copy", "test"}},
		"path":  obj{"type": "string", "description": "JSON Pointer (RFC 6901) to what is edited"},
		"from":  obj{"type": "string", "description": "of move and copy: JSON Pointer to what is moved or copied"},
		"value": obj{"description": "of add, replace and test"},
	},
}

// of returns the schema of a type.
func (g *schemas) of(t reflect.Type) obj {
	if s, ok := plain[t]; ok {
		return clone(s)
	}
	switch t.Kind() {
	case reflect.Pointer:
		return g.of(t.Elem())
	case reflect.Bool:
		return obj{"type": "boolean"}
	case reflect.String:
		if values := g.source.values[t.Name()]; len(values) > 0 && t.PkgPath() != "" {
			return obj{"type": "string", "enum": values}
		}
		return obj{"type": "string"}
	case reflect.Float64:
		return obj{"type": "number"}
	case reflect.Int, reflect.Int64:
		return obj{"type": "integer"}
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return obj{"type": "integer", "minimum": 0}
	case reflect.Slice:
		return obj{"type": "array", "items": g.of(t.Elem())}
	case reflect.Array:
		return obj{"type": "array", "items": g.of(t.Elem()), "minItems": t.Len(), "maxItems": t.Len()}
	case reflect.Struct:
		return g.named(t)
	}
	g.Fatalf("%v has no schema", t)
	return nil
}

// named returns a reference to the schema of a struct, which is among the components.
func (g *schemas) named(t reflect.Type) obj {
	name := strings.ToUpper(t.Name()[:1]) + t.Name()[1:]
	if _, ok := g.components[name]; !ok {
		g.components[name] = nil // types may refer to themselves
		g.components[name] = g.object(t)
	}
	return obj{"$ref": "#/components/schemas/" + name}
}

// object returns the schema of a struct.
func (g *schemas) object(t reflect.Type) obj {
	if t == eventType {
		return g.event()
	}
	properties, required := obj{}, []string{}
	g.fields(t, properties, &required)
	s := obj{"type": "object", "properties": properties, "required": required}
	if text := g.source.docs[t.Name()]; text != "" {
		s["description"] = text
	}
	if g.strict {
		s["additionalProperties"] = false
	}
	return s
}

// fields adds the fields of a struct, and those of structs that are embedded.
func (g *schemas) fields(t reflect.Type, properties obj, required *[]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			g.fields(f.Type, properties, required)
			continue
		case name == "-" || !f.IsExported():
			continue
		case name == "":
			g.Errorf("%v.%s has no name in JSON", t, f.Name)
		}
		s := g.of(f.Type)
		if text := g.source.fields[t.Name()][f.Name]; text != "" {
			s["description"] = text
		}
		properties[name] = s
		if options != "omitempty" {
			*required = append(*required, name)
		}
	}
}

// eventType is the type of events.
var eventType = reflect.TypeFor[control.Event]()

// details are the types of the details of events, by kind, except those of "flushed".
var details = map[control.EventKind]reflect.Type{
	control.EventPort:     reflect.TypeFor[control.PortEvent](),
	control.EventSession:  reflect.TypeFor[control.SessionEvent](),
	control.EventFDB:      reflect.TypeFor[control.FDBEvent](),
	control.EventMDB:      reflect.TypeFor[control.MDBEvent](),
	control.EventLoop:     reflect.TypeFor[control.LoopEvent](),
	control.EventConflict: reflect.TypeFor[control.ConflictEvent](),
	control.EventConfig:   reflect.TypeFor[control.ConfigEvent](),
	control.EventCapture:  reflect.TypeFor[control.CaptureEvent](),
	control.EventStream:   reflect.TypeFor[control.StreamEvent](),
}

// event returns the schema of events: one of those of the kinds.
func (g *schemas) event() obj {
	var kinds []obj
	add := func(kind control.EventKind, names []string, detail reflect.Type) {
		properties := obj{
			"kind": obj{"const": kind}, "event": obj{"type": "string", "enum": names}, "detail": g.of(detail),
			"time": obj{"type": "string", "format": "date-time"},
			"port": obj{"type": "string", "description": g.source.fields["Event"]["Port"]},
			"text": obj{"type": "string", "description": g.source.fields["Event"]["Text"]},
		}
		s := obj{"type": "object", "properties": properties, "required": []string{"time", "kind", "event", "text", "detail"}}
		if g.strict {
			s["additionalProperties"] = false
		}
		kinds = append(kinds, s)
	}
	for _, kind := range append(control.EventKinds, control.EventStream) {
		names := []string{}
		for _, name := range control.EventNames[kind] {
			if name == "flushed" {
				add(kind, []string{name}, reflect.TypeFor[control.FlushEvent]())
			} else {
				names = append(names, name)
			}
		}
		add(kind, names, details[kind])
	}
	return obj{"oneOf": kinds, "description": g.source.docs["Event"]}
}

// clone returns a copy to which a description can be added.
func clone(s obj) obj {
	c := obj{}
	for k, v := range s {
		c[k] = v
	}
	return c
}

// A source is what the package's source says about its types.
type source struct {
	docs   map[string]string            // of types
	fields map[string]map[string]string // by type and field
	values map[string][]string          // of types of strings: their constants
}

// readSource reads the source of package control.
func readSource(t *testing.T) *source {
	t.Helper()
	s := &source{make(map[string]string), make(map[string]map[string]string), make(map[string][]string)}
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			if d, ok := d.(*ast.GenDecl); ok {
				s.read(d)
			}
		}
	}
	return s
}

// read reads types and constants.
func (s *source) read(d *ast.GenDecl) {
	for _, spec := range d.Specs {
		switch spec := spec.(type) {
		case *ast.TypeSpec:
			name := spec.Name.Name
			s.docs[name] = oneLine(d.Doc)
			st, ok := spec.Type.(*ast.StructType)
			if !ok {
				continue
			}
			s.fields[name] = make(map[string]string)
			for _, f := range st.Fields.List {
				for _, id := range f.Names {
					s.fields[name][id.Name] = strings.TrimSpace(oneLine(f.Doc) + " " + oneLine(f.Comment))
				}
			}
		case *ast.ValueSpec:
			kind, ok := spec.Type.(*ast.Ident)
			if !ok || d.Tok != token.CONST {
				continue
			}
			for _, v := range spec.Values {
				if lit, ok := v.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					text, _ := strconv.Unquote(lit.Value)
					s.values[kind.Name] = append(s.values[kind.Name], text)
				}
			}
		}
	}
}

func oneLine(c *ast.CommentGroup) string { return strings.Join(strings.Fields(c.Text()), " ") }
