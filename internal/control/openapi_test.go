package control_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/pb33f/libopenapi"
	validator "github.com/pb33f/libopenapi-validator"

	"vswitchd/internal/control"
)

// The description of the API for programs is made from the Go types, and held against the running
// daemon by tests. It cannot miss a field, and no field can have another type.

var update = flag.Bool("update", false, "rewrite docs/openapi.json")

// openAPIFile is the description.
const openAPIFile = "../../docs/openapi.json"

// oneEvent is a path that only the strict description has: its answer is an event.
const oneEvent = "/v1/events/one"

// openAPI makes the description; a strict one permits no fields but those that it has.
func openAPI(t *testing.T, strict bool) []byte {
	t.Helper()
	g := &schemas{T: t, source: readSource(t), strict: strict, components: obj{"Edit": edit}}
	g.named(eventType)
	paths := obj{}
	for i := range operations {
		o := &operations[i]
		method, path, _ := strings.Cut(o.route, " ")
		if paths[path] == nil {
			paths[path] = obj{}
		}
		paths[path].(obj)[strings.ToLower(method)] = o.describe(g)
	}
	if strict {
		answer := obj{"description": "an event", "content": obj{"application/json": obj{"schema": g.named(eventType)}}}
		paths[oneEvent] = obj{"get": obj{"operationId": "oneEvent", "responses": obj{"200": answer}}}
	}
	doc := obj{
		"openapi": "3.1.0",
		"info": obj{
			"title": "vswitchd control API", "version": "1", "license": obj{"name": "Apache 2.0", "identifier": "Apache-2.0"},
			"description": "Served as HTTP/1.1 on the unix socket of vswitchd; see docs/control-api.md. " +
				"Within a version, paths, parameters, fields and values of enumerations may be added: clients ignore those that they do not know.",
		},
		"servers": []obj{{"url": "http://vswitchd", "description": "the host name is not looked at"}},
		"paths":   paths, "components": obj{"schemas": g.components},
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(doc); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// docs/openapi.json is the description that is made from the types: a field, a parameter or a path
// that is not in it makes the test fail.
func TestOpenAPIIsUpToDate(t *testing.T) {
	want := openAPI(t, false)
	if *update {
		if err := os.WriteFile(openAPIFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(openAPIFile)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs from the types; make it anew with go test ./internal/control -run OpenAPI -update", openAPIFile)
	}
}

// newValidator returns a validator by the strict description.
func newValidator(t *testing.T) validator.Validator {
	t.Helper()
	doc, err := libopenapi.NewDocument(openAPI(t, true))
	if err != nil {
		t.Fatal(err)
	}
	v, errs := validator.NewValidator(doc)
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	return v
}

// The description is one of OpenAPI 3.1.
func TestOpenAPIIsValid(t *testing.T) {
	if ok, errs := newValidator(t).ValidateDocument(); !ok {
		for _, e := range errs {
			t.Error(e)
		}
	}
}

// Each path and method that is served is in the description and in the document for people, and
// nothing else is.
func TestOpenAPIHasEveryRoute(t *testing.T) {
	var described []string
	for _, o := range operations {
		described = append(described, o.route)
	}
	served := control.Routes()
	slices.Sort(described)
	slices.Sort(served)
	if !slices.Equal(described, served) {
		t.Errorf("described: %q\nserved:    %q", described, served)
	}
	text, err := os.ReadFile("../../docs/control-api.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range operations {
		route := strings.NewReplacer("{name}", "NAME", "{mac}", "M", "{id}", "ID").Replace(o.route)
		row := regexp.MustCompile("(?m)^\\|.*`" + regexp.QuoteMeta(route) + "[`?].*$").Find(text)
		if row == nil {
			t.Errorf("docs/control-api.md does not have %s", route)
			continue
		}
		for _, p := range o.params {
			if !bytes.Contains(row, []byte(p.name)) && p.name != "If-Match" {
				t.Errorf("docs/control-api.md: %s lacks the parameter %s", route, p.name)
			}
		}
	}
}

// The document for people has every field.
func TestDocumentHasEveryField(t *testing.T) {
	text, err := os.ReadFile("../../docs/control-api.md")
	if err != nil {
		t.Fatal(err)
	}
	g := &schemas{T: t, source: readSource(t), components: obj{}}
	g.named(eventType)
	for i := range operations {
		operations[i].describe(g)
	}
	for name, s := range g.components {
		properties, _ := s.(obj)["properties"].(obj)
		for field := range properties {
			if !regexp.MustCompile(`\b` + field + `\b`).Match(text) {
				t.Errorf("docs/control-api.md: the field %s of %s is missing", field, name)
			}
		}
	}
}
