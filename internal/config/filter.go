package config

import (
	"reflect"

	"vswitchd/internal/config/key"
	vswitch "vswitchd/switch"
)

// A Filter is a filter of the switch. Whether its rules contradict themselves, and whether the sets
// that they name exist, is the switch's to check.
type Filter struct {
	vswitch.FilterConfig

	where where
	rules []where // one for each of Rules
}

// A Set is a named set of addresses and ports. Whether its entries overlap is the switch's to
// check.
type Set struct {
	vswitch.SetConfig

	where where
}

// Errorf returns an error about a key of a rule, given by its index, or of the filter itself if
// rule is -1. With an empty key, the error is about the rule or the filter as a whole.
func (f *Filter) Errorf(rule int, key, format string, args ...any) Error {
	if rule < 0 {
		return f.where.errorf(key, format, args...)
	}
	return f.rules[rule].errorf(key, format, args...)
}

// Equal reports whether two filters have the same settings.
func (f *Filter) Equal(g *Filter) bool { return reflect.DeepEqual(f.FilterConfig, g.FilterConfig) }

// Errorf returns an error about a key of this set; "": about the set itself.
func (s *Set) Errorf(key, format string, args ...any) Error {
	return s.where.errorf(key, format, args...)
}

func (f *Filter) keys() []key.Key {
	return []key.Key{
		{Name: "default", Value: key.OneOf(&f.Default, vswitch.FilterAccept, vswitch.FilterDrop), Required: true, Example: `"drop"`,
			Doc: "what is done with frames that no rule decides about"},
	}
}

// Keys returns the keys of the set, bound to it.
func (s *Set) Keys() []key.Key {
	return []key.Key{
		{Name: "addresses", Value: networks(&s.Addresses), Doc: "IP addresses and prefixes, which rules name by `src` and `dst`; they must not overlap"},
		{Name: "ports", Value: ranges(&s.Ports, 0xffff), Doc: "ports, which rules name by `src_ports` and `dst_ports`; they must not overlap"},
	}
}

// RuleKeys returns the keys of a rule of a filter, bound to it.
func RuleKeys(r *vswitch.FilterRule) []key.Key {
	return []key.Key{
		{Name: "name", Value: key.Text(&r.Name), Required: true, Example: `"web"`,
			Doc: "the rule's name in counters, up to 63 letters, digits and `. _ -`, unique in the filter"},
		{Name: "action", Value: key.OneOf(&r.Action, vswitch.FilterAccept, vswitch.FilterDrop, vswitch.FilterCount), Required: true, Example: `"accept"`,
			Doc: "what is done with frames that match; `count`: they are counted, and the next rules apply"},
		{Name: "src_mac", Value: parsed("MAC addresses", &r.SrcMACs, vswitch.ParseMACMask), Doc: "source addresses, optionally with a mask: `52:54:00:00:00:00/24`"},
		{Name: "dst_mac", Value: parsed("MAC addresses", &r.DstMACs, vswitch.ParseMACMask), Doc: "destination addresses, likewise"},
		{Name: "vlan", Value: ranges(&r.VLANs, 4095), Doc: "VLANs in which the switch forwards the frame; 0: none"},
		{Name: "pcp", Value: ranges(&r.PCPs, 7), Doc: "priorities of the frame, from its tag or from the port's `priority`"},
		{Name: "ethertype", Value: named("types", &r.EtherTypes, etherTypes), Doc: "types of packets, behind tags and SNAP headers; `llc`: a frame without a type"},
		{Name: "src", Value: addresses(&r.Src), Doc: "source addresses of IP packets: addresses, prefixes and sets such as `@admins`"},
		{Name: "dst", Value: addresses(&r.Dst), Doc: "destination addresses of IP packets, likewise"},
		{Name: "proto", Value: named("protocols", &r.Protos, protocols), Doc: "protocols of IP packets"},
		{Name: "src_ports", Value: portList(&r.SrcPorts), Doc: "source ports: numbers, ranges and sets; `proto` has to name tcp, udp or sctp, and nothing else"},
		{Name: "dst_ports", Value: portList(&r.DstPorts), Doc: "destination ports, likewise"},
		{Name: "icmp_type", Value: icmpTypes(&r.ICMPTypes, icmpNames), Doc: "types of ICMP messages, optionally with a code: `3/4`"},
		{Name: "icmpv6_type", Value: icmpTypes(&r.ICMPv6Types, icmpv6Names), Doc: "types of ICMPv6 messages, likewise"},
		{Name: "tcp_flags", Value: tcpFlags(&r.TCPFlags), Doc: "flags that a TCP segment has or, with `!`, does not have: `[\"syn\", \"!ack\"]`"},
		{Name: "established", Value: key.Bool(&r.Established), Doc: "TCP segments with ACK or RST"},
		{Name: "fragment", Value: fragment(&r.Fragment), Doc: "`true`: fragments of IP packets, the first one included; `false`: whole IP packets"},
	}
}

// namedTable adds a table [kind.NAME] unless its name is not valid, which it reports.
func (p *parser) namedTable(t *table, twice bool, add func()) {
	w := t.where()
	if err := checkPortName(t.path[1]); err != nil {
		p.errs = append(p.errs, w.errorf("", "%v", err))
		return
	}
	if !twice {
		add()
	}
}

// required reports keys that are missing.
func (p *parser) required(w *where, keys []key.Key) {
	for _, k := range keys {
		if k.Required && !w.has(k.Name) {
			p.errs = append(p.errs, w.errorf(k.Name, "is missing"))
		}
	}
}

func (p *parser) filter(t *table, twice bool) {
	f := &Filter{FilterConfig: vswitch.FilterConfig{Name: t.path[1]}, where: t.where()}
	rules := key.Key{Name: "rules", Value: key.Value{Set: func(any) error {
		t.list("rules", func(t *table) { p.rule(f, t) })
		return nil
	}}}
	t.read(append(f.keys(), rules), nil)
	p.required(&f.where, f.keys())
	p.namedTable(t, twice, func() { p.cfg.Filters = append(p.cfg.Filters, f) })
}

func (p *parser) rule(f *Filter, t *table) {
	r, w := new(vswitch.FilterRule), t.where()
	t.read(RuleKeys(r), nil)
	p.required(&w, RuleKeys(r))
	f.Rules, f.rules = append(f.Rules, *r), append(f.rules, w)
}

func (p *parser) set(t *table, twice bool) {
	s := &Set{SetConfig: vswitch.SetConfig{Name: t.path[1]}, where: t.where()}
	t.read(s.Keys(), nil)
	p.namedTable(t, twice, func() { p.cfg.Sets = append(p.cfg.Sets, s) })
}
