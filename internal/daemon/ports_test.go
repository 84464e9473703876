package daemon

import (
	"reflect"
	"testing"

	"vswitchd/internal/config"
	vswitch "vswitchd/switch"
)

// another changes v to a different value.
func another(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(v.Int() + 1)
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32:
		v.SetUint(v.Uint() + 1)
	case reflect.Uint64:
		if v.Uint() == 0 {
			v.SetUint(1)
		} else {
			v.SetUint(v.Uint() >> 1) // an added bit would not be one of the offloads
		}
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Slice:
		v.Set(reflect.Append(v, reflect.Zero(v.Type().Elem())))
	case reflect.Array:
		another(t, v.Index(0))
	default:
		t.Fatalf("another cannot change a %s", v.Type())
	}
}

// leaves calls visit for each field of a struct, and of structs within it.
func leaves(v reflect.Value, name string, visit func(name string, field reflect.Value)) {
	for i := range v.NumField() {
		f, field := v.Field(i), v.Type().Field(i)
		switch {
		case !field.IsExported():
		case f.Kind() == reflect.Struct:
			leaves(f, name+field.Name+".", visit)
		default:
			visit(name+field.Name, f)
		}
	}
}

// onePort returns a port of a kind with only its required keys set.
func onePort(t *testing.T, kind *config.Kind) *config.Port {
	t.Helper()
	doc := "[" + kind.Table + ".a]\n"
	for _, k := range kind.New("a", &config.Switch{SocketDir: "/run/vswitchd"}).Keys(new(vswitch.PortConfig)) {
		if k.Required {
			doc += k.Name + " = " + k.Example + "\n"
		}
	}
	cfg, errs := Kinds().Parse("f", []byte(doc))
	if errs != nil {
		t.Fatal(errs)
	}
	return cfg.Ports[0]
}

// A reload detects a change of every single field of a port's settings. It would silently ignore a
// change that it did not detect.
func TestReloadDetectsEveryField(t *testing.T) {
	for _, kind := range Kinds() {
		fields := 0
		visit := func(pick func(p *config.Port) reflect.Value) {
			// The outer walk enumerates the fields; the inner one finds the same field in another
			// port to change it.
			leaves(pick(onePort(t, kind)), "", func(name string, _ reflect.Value) {
				switch {
				case name == "Kind", name == "Settings", name == "PortConfig.Counters", name == "PortConfig.Role": // no key sets these
					return
				case name == "PortConfig.MACs" && kind.Table == "uplink": // likewise, of an uplink
					return
				case name == "PortConfig.Announce" && kind.Table != "uplink": // of uplinks only
					return
				}
				fields++
				was, now := onePort(t, kind), onePort(t, kind)
				leaves(pick(now), "", func(other string, f reflect.Value) {
					if other == name {
						another(t, f)
					}
				})
				if lines := differences(now, was); len(lines) == 0 {
					t.Errorf("%s: a change of %s is not detected", kind.Name, name)
				}
			})
		}
		visit(func(p *config.Port) reflect.Value { return reflect.ValueOf(p).Elem() })
		visit(func(p *config.Port) reflect.Value { return reflect.ValueOf(p.Settings).Elem() })
		if fields < 10 {
			t.Errorf("%s: there are only %d fields", kind.Name, fields)
		}
	}
}

// The same for static entries.
func TestReloadDetectsEveryFieldOfStaticEntries(t *testing.T) {
	base := config.FDBEntry{StaticEntry: vswitch.StaticEntry{MAC: vswitch.MAC{2}, VLAN: 1, Port: "a"}}
	changed := base
	leaves(reflect.ValueOf(&changed).Elem(), "", func(name string, f reflect.Value) {
		changed = base
		another(t, f)
		if lines := compareFDB([]config.FDBEntry{base}, []config.FDBEntry{changed}); len(lines) == 0 {
			t.Errorf("a change of %s is not detected", name)
		}
	})
}
