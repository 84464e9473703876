package handover

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Schemas of documents.
const (
	Schema    = 1 // of the documents that this version writes; it reads these and all older ones
	MinReader = 1 // the oldest schema whose readers can go on from a document of this version
)

// ErrNotUnderstood is wrapped by the error for a document that this version cannot go on from.
var ErrNotUnderstood = errors.New("the state is not understood")

// A Document is the state of a whole vswitchd.
type Document struct {
	Schema         int      `json:"schema"`
	MinReader      int      `json:"min_reader"`
	MustUnderstand []string `json:"must_understand"` // sorted
	Version        string   `json:"version"`         // of the vswitchd that wrote it
	PID            int      `json:"pid"`             // its process

	// Frozen is when the old process stopped, in nanoseconds of CLOCK_MONOTONIC; 0: it has not.
	Frozen int64 `json:"frozen,omitempty"`

	// Configuration is what runs, as TOML; File is where it is from, "" for no file.
	Configuration string `json:"configuration"`
	File          string `json:"file"`

	Parts []Part `json:"parts"`
}

// A Part is the state of one thing: a port, or the switch.
type Part struct {
	Kind  string          `json:"kind"`
	Name  string          `json:"name,omitempty"`
	State json.RawMessage `json:"state"`
}

// Find returns a part of the document, or nil.
func (d *Document) Find(kind, name string) *Part {
	i := slices.IndexFunc(d.Parts, func(p Part) bool { return p.Kind == kind && p.Name == name })
	if i < 0 {
		return nil
	}
	return &d.Parts[i]
}

// Check verifies that this version can go on from the document. understood are the names in
// MustUnderstand that it knows.
func (d *Document) Check(understood []string) error {
	if d.Schema < 1 || d.MinReader > Schema {
		return fmt.Errorf("%w: it has schema %d, for readers from schema %d on; this version reads schemas up to %d",
			ErrNotUnderstood, d.Schema, d.MinReader, Schema)
	}
	var unknown []string
	for _, name := range d.MustUnderstand {
		if !slices.Contains(understood, name) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) > 0 {
		return fmt.Errorf("%w: vswitchd %s needs its successor to know %s", ErrNotUnderstood, d.Version, strings.Join(unknown, ", "))
	}
	return nil
}
