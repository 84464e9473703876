package control

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Settings are values of configuration keys, in the order in which the keys are documented. In JSON
// they are an object, never null.
type Settings []Setting

// A Setting is the value of one key: a string, boolean, integer, or a list of these, in which types
// may be mixed.
type Setting struct {
	Key   string
	Value any // from JSON: numbers are json.Number, lists []any
}

// Get returns the value of a key as text, or "" if there is no such key.
func (s Settings) Get(key string) string {
	for _, e := range s {
		if e.Key == key {
			return fmt.Sprint(e.Value)
		}
	}
	return ""
}

// MarshalJSON implements json.Marshaler.
func (s Settings) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteByte('{')
	for i, e := range s {
		if i > 0 {
			b.WriteByte(',')
		}
		for j, part := range []any{e.Key, e.Value} {
			text, err := json.Marshal(part)
			if err != nil {
				return nil, err
			}
			if j > 0 {
				b.WriteByte(':')
			}
			b.Write(text)
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (s *Settings) UnmarshalJSON(data []byte) error {
	*s = nil
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return fmt.Errorf("settings are not an object: %s", data)
	}
	for d.More() {
		key, err := d.Token() // a string, which the decoder has checked
		if err != nil {
			return err
		}
		e := Setting{Key: key.(string)}
		if err := d.Decode(&e.Value); err != nil {
			return err
		}
		*s = append(*s, e)
	}
	return nil
}
