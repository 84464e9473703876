package daemon

import (
	"reflect"
	"testing"

	"vswitchd/internal/config"
	"vswitchd/internal/control"
)

// A reload sees a change of each setting of a mirror.
func TestReloadSeesEveryFieldOfMirrors(t *testing.T) {
	leaves(reflect.ValueOf(&config.Mirror{}).Elem(), "", func(name string, _ reflect.Value) {
		was, now := &config.Mirror{}, &config.Mirror{}
		leaves(reflect.ValueOf(now).Elem(), "", func(other string, f reflect.Value) {
			if other == name {
				another(t, f)
			}
		})
		if lines := compareMirrors([]*config.Mirror{was}, []*config.Mirror{now}); len(lines) == 0 {
			t.Errorf("a change of %s goes unseen", name)
		}
	})
}

// Mirrors come, change and go with the configuration; a mirror keeps its counters, and a file with
// a mirror that cannot be changes nothing.
func TestReloadOfMirrors(t *testing.T) {
	const ports = "[port.a]\n[port.b]\n[port.probe]\n"
	l := newLab(t, ports)
	mirrors := func(want ...string) {
		t.Helper()
		var got []string
		for _, m := range l.d.Backend().Mirrors() {
			got = append(got, m.Name)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("mirrors: %v, want %v", got, want)
		}
	}
	mirrors()
	l.reload(ports+"[mirror.m]\nselect_src = [\"a\"]\noutput = \"probe\"\n", "mirror m added")
	mirrors("m")
	counters := l.d.sw.Mirrors()[0].Counters
	l.reload(ports+"[mirror.n]\nselect_src = [\"b\"]\noutput = \"probe\"\n[mirror.m]\nselect_dst = [\"a\"]\noutput = \"probe\"\n",
		"mirror n added", "mirror m changed")
	mirrors("n", "m")
	if l.d.sw.Mirrors()[1].Counters != counters {
		t.Error("mirror m has other counters")
	}
	_, errs := l.examine("[port.a]\n[mirror.n]\nselect_src = [\"b\"]\noutput = \"a\"\n[mirror.o]\nselect_dst = [\"a\"]\noutput = \"c\"\n")
	want := `f:7: mirror.n.select_src: no such port: b
f:10: mirror.o.select_dst: bad mirror: a is the output of mirror n
f:11: mirror.o.output: no such port: c`
	if errs.Error() != want {
		t.Errorf("got\n%s\nwant\n%s", errs, want)
	}
	l.reload(ports, "mirror n removed", "mirror m removed")
	mirrors()

	const filter, mirror = "[filter.web]\ndefault = \"drop\"\n", "[mirror.m]\nselect_src = [\"a\"]\noutput = \"probe\"\n"
	l.reload(ports+filter+mirror, "mirror m added", "filter web added")
	l.reload(ports+filter+mirror+"filter = \"web\"\n", "mirror m changed")
	if m, f := l.d.Backend().Mirrors()[0], l.d.Backend().Filters()[0]; m.Filter != "web" || !reflect.DeepEqual(f.Mirrors, control.List[string]{"m"}) {
		t.Errorf("mirror m has filter %q, and filter web mirrors %q", m.Filter, f.Mirrors)
	}
	_, errs = l.examine(ports + mirror + "filter = \"web\"\n")
	if want := "f:11: mirror.m.filter: no such filter: web"; errs.Error() != want {
		t.Errorf("got\n%s\nwant\n%s", errs, want)
	}
}
