package config

import (
	"net/netip"
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
		case *netip.Addr:
			*v = netip.IPv6LinkLocalAllNodes()
		case *[]uint16:
			*v = append(*v, 1)
		case *[]int:
			*v = append(*v, 1)
		case *[]string:
			*v = append(*v, "x")
		case *time.Duration:
			*v += time.Second
		case *Access:
			v.UID++
		case *Poll:
			*v = Poll{For: v.For + time.Microsecond}
		default:
			t.Fatalf("the test cannot change a %T", v)
		}
	}
	fields := 0
	for _, part := range []string{"Log", "Control", "Switch", "Sandbox"} {
		typ := reflect.TypeFor[Config]()
		field, _ := typ.FieldByName(part)
		for i := range field.Type.NumField() {
			if !field.Type.Field(i).IsExported() {
				continue
			}
			leaves := 1
			if field.Type.Field(i).Type == reflect.TypeFor[vswitch.QuerierConfig]() {
				leaves = field.Type.Field(i).Type.NumField()
			}
			for leaf := range leaves {
				fields++
				was, now := defaults(), defaults()
				f := reflect.ValueOf(now).Elem().FieldByName(part).Field(i)
				if leaves > 1 {
					f = f.Field(leaf)
				}
				change(f)
				seen := 0
				for j, table := range now.tables() {
					seen += len(key.Differing(table.keys, was.tables()[j].keys))
				}
				if seen != 1 {
					t.Errorf("a change of %s.%s (%d) is detected %d times, want once", part, field.Type.Field(i).Name, leaf, seen)
				}
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
