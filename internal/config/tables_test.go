package config

import (
	"reflect"
	"testing"
	"time"

	"github.com/BurntSushi/toml"

	"vswitchd/internal/config/key"
	vswitch "vswitchd/switch"
)

// A reload detects a change of every single field of the tables that occur once.
func TestReloadDetectsEveryFieldOfTables(t *testing.T) {
	change := func(f reflect.Value) {
		switch v := f.Addr().Interface().(type) {
		case *string:
			*v += "x"
		case *bool:
			*v = !*v
		case *vswitch.McastUnregistered:
			*v += "x"
		case *int:
			*v++
		case *[]int:
			*v = append(*v, 1)
		case *time.Duration:
			*v += time.Second
		case *Access:
			v.UID++
		case *Poll:
			v.For++
		default:
			t.Fatalf("the test cannot change a %T", v)
		}
	}
	fields := 0
	for _, part := range []string{"Log", "Control", "Switch"} {
		typ := reflect.TypeFor[Config]()
		field, _ := typ.FieldByName(part)
		for i := range field.Type.NumField() {
			if !field.Type.Field(i).IsExported() {
				continue
			}
			fields++
			was, now := defaults(), defaults()
			change(reflect.ValueOf(now).Elem().FieldByName(part).Field(i))
			seen := 0
			for j, table := range now.tables() {
				seen += len(key.Differing(table.keys, was.tables()[j].keys))
			}
			if seen != 1 {
				t.Errorf("a change of %s.%s is detected %d times, want once", part, field.Type.Field(i).Name, seen)
			}
		}
	}
	if fields < 10 {
		t.Errorf("there are only %d fields", fields)
	}
}

// Every key can be set to its current value in TOML's notation.
func TestKeysTakeWhatTheyShow(t *testing.T) {
	for _, table := range defaults().tables() {
		for _, k := range table.keys {
			if k.Unsupported {
				continue
			}
			was := key.TOML(k.Get())
			var doc map[string]any
			if _, err := toml.Decode("v = "+was, &doc); err != nil {
				t.Errorf("%s.%s: %s is not valid TOML: %v", table.name, k.Name, was, err)
				continue
			}
			if err := k.Set(doc["v"]); err != nil || key.TOML(k.Get()) != was {
				t.Errorf("%s.%s: %v; was %s, is %s", table.name, k.Name, err, was, key.TOML(k.Get()))
			}
		}
	}
}
