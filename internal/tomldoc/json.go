package tomldoc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"vswitchd/internal/nearest"
)

// MaxDepth limits how deep tables and arrays of a JSON value are nested.
const MaxDepth = 16

// MarshalJSON implements json.Marshaler: keys keep their order. JSON has no times, and no infinite
// numbers, which become strings.
func (t *Table) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	err := writeJSON(&b, t)
	return b.Bytes(), err
}

func writeJSON(b *bytes.Buffer, v any) error {
	switch v := v.(type) {
	case *Table:
		for i, e := range v.Entries {
			b.WriteByte("{,"[min(i, 1)])
			if err := writeJSON(b, e.Key); err != nil {
				return err
			}
			b.WriteByte(':')
			if err := writeJSON(b, e.Value); err != nil {
				return err
			}
		}
		if len(v.Entries) == 0 {
			b.WriteByte('{')
		}
		b.WriteByte('}')
		return nil
	case []any:
		for i, e := range v {
			b.WriteByte("[,"[min(i, 1)])
			if err := writeJSON(b, e); err != nil {
				return err
			}
		}
		if len(v) == 0 {
			b.WriteByte('[')
		}
		b.WriteByte(']')
		return nil
	}
	if f, ok := v.(float64); ok && (math.IsInf(f, 0) || math.IsNaN(f)) {
		v = Literal(f)
	}
	if at, ok := v.(time.Time); ok {
		v = Literal(at)
	}
	text, err := json.Marshal(v)
	b.Write(text)
	return err
}

// UnmarshalJSON implements json.Unmarshaler. Numbers that are whole become int64.
func (t *Table) UnmarshalJSON(data []byte) error {
	v, err := valueOf(data)
	if err != nil {
		return err
	}
	sub, ok := v.(*Table)
	if !ok {
		return errors.New("the document is no object")
	}
	*t = *sub
	return nil
}

// valueOf decodes one JSON value.
func valueOf(data []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	return readJSON(d, 0)
}

func readJSON(d *json.Decoder, depth int) (any, error) {
	token, err := d.Token()
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, err
	}
	switch v := token.(type) {
	case json.Delim:
		if depth == MaxDepth {
			return nil, fmt.Errorf("the value is nested more than %d deep", MaxDepth)
		}
		if v == '[' {
			return readArray(d, depth)
		}
		return readObject(d, depth)
	case json.Number:
		return number(v)
	case nil:
		return nil, errors.New("there is no null in TOML")
	}
	return token, nil
}

func number(n json.Number) (any, error) {
	if strings.ContainsAny(n.String(), ".eE") {
		return n.Float64()
	}
	i, err := n.Int64()
	if err != nil {
		return nil, fmt.Errorf("%s is too large or too small", n)
	}
	return i, nil
}

func readArray(d *json.Decoder, depth int) (any, error) {
	list := []any{}
	for d.More() {
		v, err := readJSON(d, depth+1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	_, err := d.Token()
	return list, err
}

func readObject(d *json.Decoder, depth int) (any, error) {
	t, seen := &Table{}, map[string]bool{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, err
		}
		key, ok := token.(string)
		if !ok || seen[key] {
			return nil, fmt.Errorf("the key %q is there twice", key)
		}
		seen[key] = true
		v, err := readJSON(d, depth+1)
		if err != nil {
			return nil, err
		}
		t.Entries = append(t.Entries, Entry{Key: key, Value: v})
	}
	_, err := d.Token()
	return t, err
}

// jsonEdit is an Edit as JSON.
type jsonEdit struct {
	Op    string          `json:"op"`
	Path  *string         `json:"path"`
	From  *string         `json:"from,omitempty"`
	Value json.RawMessage `json:"value,omitempty"`
}

// MarshalJSON implements json.Marshaler.
func (e Edit) MarshalJSON() ([]byte, error) {
	path, from := e.Path.String(), e.From.String()
	j := jsonEdit{Op: e.Op, Path: &path}
	switch e.Op {
	case "move", "copy":
		j.From = &from
	case "add", "replace", "test":
		var b bytes.Buffer
		if err := writeJSON(&b, e.Value); err != nil {
			return nil, err
		}
		j.Value = b.Bytes()
	}
	return json.Marshal(j)
}

// UnmarshalJSON implements json.Unmarshaler. Unlike RFC 6902, it refuses members that an edit does
// not have: they are mistakes.
func (e *Edit) UnmarshalJSON(data []byte) error {
	var j jsonEdit
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&j); err != nil {
		return err
	}
	*e = Edit{Op: j.Op}
	needs := map[string]bool{"add": true, "replace": true, "test": true}
	moves := j.Op == "move" || j.Op == "copy"
	switch known := needs[j.Op] || moves || j.Op == "remove"; {
	case !known:
		return fmt.Errorf("op is %q, must be one of %s%s", j.Op, strings.Join(Ops, ", "), nearest.Hint(j.Op, Ops))
	case j.Path == nil:
		return fmt.Errorf("an edit %q has no path", j.Op)
	case needs[j.Op] != (j.Value != nil):
		return fmt.Errorf("%s %s: value is missing, or there is one", j.Op, *j.Path)
	case moves != (j.From != nil):
		return fmt.Errorf("%s %s: from is missing, or there is one", j.Op, *j.Path)
	}
	var err error
	if e.Path, err = ParsePath(*j.Path); err != nil {
		return err
	}
	if moves {
		if e.From, err = ParsePath(*j.From); err != nil {
			return err
		}
	}
	if needs[j.Op] {
		if e.Value, err = valueOf(j.Value); err != nil {
			return fmt.Errorf("%s %s: %w", j.Op, *j.Path, err)
		}
	}
	return nil
}
