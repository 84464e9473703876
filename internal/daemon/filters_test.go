package daemon

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"vswitchd/internal/config"
	"vswitchd/internal/control"
	vswitch "vswitchd/switch"
)

const filterFile = `
[port.a]
ingress_filter = "web"
[port.b]
egress_filter = "web"
[set.admins]
addresses = ["10.0.0.0/24"]
[set.ports]
ports = [80]
[filter.web]
default = "drop"
rules = [
  { name = "arp", action = "accept", ethertype = "arp" },
  { name = "web", action = "accept", proto = "tcp", dst_ports = "@ports", src = "@admins", fragment = false },
]
`

// A reload sees a change of each setting of a rule.
func TestReloadSeesEveryFieldOfFilters(t *testing.T) {
	fields := reflect.TypeFor[vswitch.FilterRule]()
	for i := range fields.NumField() {
		was, now := &config.Filter{}, &config.Filter{}
		was.Rules, now.Rules = make([]vswitch.FilterRule, 1), make([]vswitch.FilterRule, 1)
		f := reflect.ValueOf(&now.Rules[0]).Elem().Field(i)
		switch f.Kind() {
		case reflect.Slice:
			f.Set(reflect.MakeSlice(f.Type(), 1, 1))
		case reflect.Struct:
			if inner := f.Field(0); inner.Kind() == reflect.Slice {
				inner.Set(reflect.MakeSlice(inner.Type(), 1, 1))
			} else {
				inner.SetUint(1)
			}
		case reflect.String:
			f.SetString("x")
		case reflect.Bool:
			f.SetBool(true)
		default:
			f.SetUint(1)
		}
		if lines := compareFilters([]*config.Filter{was}, []*config.Filter{now}); len(lines) != 1 {
			t.Errorf("a change of %s goes unseen", fields.Field(i).Name)
		}
	}
}

// filters describes all filters and sets of a daemon in one line each.
func (l *lab) filters() (lines []string) {
	for _, f := range l.d.Backend().Filters() {
		var rules []string
		for _, r := range append(f.Rules, f.Default) {
			var match []string
			for _, s := range r.Match {
				match = append(match, fmt.Sprint(s.Key, "=", s.Value))
			}
			rules = append(rules, strings.TrimSpace(r.Action+" "+strings.Join(match, " ")))
		}
		lines = append(lines, fmt.Sprint(f.Name, ": ", strings.Join(rules, "; "), "; from ", f.Ingress, " to ", f.Egress))
	}
	for _, s := range l.d.Backend().Sets() {
		lines = append(lines, fmt.Sprint(s.Name, ": ", s.Addresses, s.Ports, " in ", s.Filters))
	}
	return lines
}

func (l *lab) wantFilters(want ...string) {
	l.Helper()
	if got := l.filters(); !reflect.DeepEqual(got, want) {
		l.Errorf("filters:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Filters and sets come, change and go with the configuration, and rules keep their counters.
func TestReloadOfFilters(t *testing.T) {
	l := newLab(t, "[port.a]\n[port.b]\n")
	l.wantFilters()
	l.reload(filterFile, "port a reconfigured", "port b reconfigured", "filter web added", "set admins added", "set ports added")
	l.wantFilters(
		"web: accept ethertype=[arp]; accept src=[@admins] proto=[tcp] dst_ports=[@ports] fragment=false; drop; from [a] to [b]",
		"admins: [10.0.0.0/24] [] in [web]", "ports: [] [80] in [web]")
	counters := l.d.sw.Filters()[0].Rules[1]
	l.reload(strings.Replace(filterFile, `{ name = "arp", action = "accept", ethertype = "arp" },`, "", 1), "filter web changed")
	if f := l.d.sw.Filters()[0]; f.Rules[0] != counters {
		t.Error("rule web has other counters")
	}
	l.reload("[port.a]\n[port.b]\n", "port a reconfigured", "port b reconfigured",
		"filter web removed", "set admins removed", "set ports removed")
	l.wantFilters()
}

// Sets change while vswitchd runs. A change that is refused changes nothing. A reload keeps what
// was added, unless it overlaps what the file has.
func TestChangesOfSets(t *testing.T) {
	l := newLab(t, filterFile)
	change := func(name string, c control.SetChange, wantErr string) {
		t.Helper()
		_, err := l.d.Backend().ChangeSet(name, c)
		if got := fmt.Sprint(err); got != wantErr {
			t.Errorf("error %q, want %q", got, wantErr)
		}
	}
	admins := func(want string) {
		t.Helper()
		if got := fmt.Sprint(l.d.Backend().Sets()[0].Addresses); got != want {
			t.Errorf("admins are %s, want %s", got, want)
		}
	}
	addresses := func(list ...string) *control.SetEntries { return &control.SetEntries{Addresses: list} }
	ports := func(list ...control.PortRange) *control.SetEntries { return &control.SetEntries{Ports: list} }

	change("admins", control.SetChange{Add: addresses("10.0.1.0/24", "fd00::1")}, "<nil>")
	admins("[10.0.0.0/24 10.0.1.0/24 fd00::1]")
	change("admins", control.SetChange{Del: addresses("10.0.0.0/24"), Add: addresses("10.0.0.0/16")}, "set admins: bad set: 10.0.1.0/24 overlaps 10.0.0.0/16")
	change("admins", control.SetChange{Del: addresses("10.9.0.0/24")}, "10.9.0.0/24 is not in the set")
	change("admins", control.SetChange{Del: ports("80")}, "80 is not in the set")
	change("admins", control.SetChange{Add: addresses("10.0.1")}, `malformed request: addresses: element 0 is "10.0.1", must be an IP address or a prefix such as 10.0.0.0/24`)
	change("ports", control.SetChange{Add: ports("9-8")}, `malformed request: ports: element 0 is wrong: "9-8" is not a number up to 65535 or a range such as 1-65535`)
	change("ports", control.SetChange{Replace: addresses("10.0.0.1")}, "filter web: rule 2: bad filter: set ports has addresses and no ports")
	change("nobody", control.SetChange{Add: addresses("10.0.0.1")}, "no such set")
	admins("[10.0.0.0/24 10.0.1.0/24 fd00::1]")
	change("admins", control.SetChange{Del: addresses("10.0.0.0/24", "10.0.1.0/24", "fd00::1")}, "<nil>")
	admins("[]")
	change("admins", control.SetChange{Replace: addresses("fd00::/8")}, "<nil>")
	admins("[fd00::/8]")

	l.reload(filterFile, "set admins changed") // the file's entry is there again
	admins("[10.0.0.0/24 fd00::/8]")
	l.reload(filterFile)
	change("admins", control.SetChange{Del: addresses("fd00::/8"), Add: addresses("10.0.0.0/24")}, "set admins: bad set: 10.0.0.0/24 overlaps 10.0.0.0/24")
	change("admins", control.SetChange{Add: addresses("10.1.0.0/24", "10.2.0.1")}, "<nil>")
	other := strings.Replace(filterFile, `"10.0.0.0/24"`, `"10.2.0.0/16"`, 1)
	l.reload(other, "set admins changed")
	admins("[10.2.0.0/16 fd00::/8 10.1.0.0/24]")
	l.reload("[port.a]\n[port.b]\n", "port a reconfigured", "port b reconfigured", "filter web removed", "set admins removed", "set ports removed")
	l.reload(filterFile, "port a reconfigured", "port b reconfigured", "filter web added", "set admins added", "set ports added")
	admins("[10.0.0.0/24]")
	_, err := l.d.Backend().ChangeSet("ports", control.SetChange{Add: ports("x")})
	if !errors.Is(err, control.ErrMalformed) {
		t.Error(err)
	}
}

// The check lists everything that is wrong with filters, with lines and keys.
func TestCheckOfFilters(t *testing.T) {
	l := newLab(t, "")
	_, errs := l.examine(`[port.a]
ingress_filter = "wbe"
[port.b]
egress_filter = "web"
[set.s]
addresses = ["10.0.0.0/8", "10.1.0.0/16"]
ports = ["1-10", 5]
[filter.web]
default = "drop"
rules = [
  { name = "a", action = "accept", dst_ports = 80 },
  { name = "a", action = "accept", proto = "icmp", src = "fd00::/8" },
  { name = "b", action = "accept", src = "@nobody" },
]
[filter.other]
default = "drop"
[[filter.other.rules]]
name = "c"
action = "drop"
ethertype = "arp"
dst = "10.0.0.1"
`)
	want := `f:10: set.s.addresses: bad set: 10.1.0.0/16 overlaps 10.0.0.0/8
f:11: set.s.ports: bad set: 5 overlaps 1-10
f:15: filter.web.rules[0].dst_ports: bad filter: only tcp, udp and sctp have ports: proto has to name one or more of these, and nothing else
f:16: filter.web.rules[1].name: bad filter: rule 1 has the name "a" already
f:16: filter.web.rules[1].src: bad filter: fd00::/8 is IPv6, and the rule matches IPv4 packets only
f:17: filter.web.rules[2].src: no such set: nobody
f:24: filter.other.rules[0].ethertype: bad filter: the rule matches fields of IP packets, and type 0x0806 is not IP`
	if errs.Error() != want {
		t.Errorf("got\n%s\nwant\n%s", errs, want)
	}
	_, errs = l.examine("[port.a]\ningress_filter = \"web\"\n[port.b]\ntag = 7\negress_filter = \"wbe\"\n[filter.web]\ndefault = \"drop\"\n")
	if want := `f:9: port.b.egress_filter: no such filter: wbe; did you mean "web"?`; errs.Error() != want {
		t.Errorf("got\n%s\nwant\n%s", errs, want)
	}
}
