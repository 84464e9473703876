package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"vswitchd/internal/config/key"
	"vswitchd/internal/nearest"
	vswitch "vswitchd/switch"
)

// The values of keys of filters and sets. Each is a list, or one of its elements alone.

// listOf is a list of elements that read reads and show shows.
func listOf[T any](typ string, dst *[]T, read func(any) (T, error), show func(T) string) key.Value {
	return key.Make(typ, dst, func(v any) ([]T, error) { return readList(v, read) }, func(ts []T) any { return showList(ts, show) })
}

// readList reads a list, or an element alone.
func readList[T any](v any, read func(any) (T, error)) (ts []T, err error) {
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	for i, e := range list {
		t, err := read(e)
		if err != nil {
			if ok {
				err = fmt.Errorf("element %d %w", i, err)
			}
			return nil, err
		}
		ts = append(ts, t)
	}
	return ts, nil
}

func showList[T any](ts []T, show func(T) string) []string {
	words := make([]string, len(ts))
	for i, t := range ts {
		words[i] = show(t)
	}
	return words
}

// text returns a string or an integer as text.
func text(v any) (string, error) {
	if n, ok := v.(int64); ok {
		return strconv.FormatInt(n, 10), nil
	}
	s, ok := v.(string)
	if !ok {
		return "", fmt.Errorf("is %s, must be a string or an integer", key.KindOf(v))
	}
	return s, nil
}

// parsed is a list of texts that parse parses.
func parsed[T fmt.Stringer](what string, dst *[]T, parse func(string) (T, error)) key.Value {
	return listOf("list of strings, "+what, dst, func(v any) (t T, err error) {
		s, err := key.String(v)
		if err != nil {
			return t, err
		}
		if t, err = parse(s); err != nil {
			err = fmt.Errorf("is wrong: %w", err)
		}
		return t, err
	}, T.String)
}

// networks is a list of addresses and prefixes.
func networks(dst *[]netip.Prefix) key.Value {
	return listOf("list of strings, IP addresses or prefixes", dst, key.Network, key.ShowNetwork)
}

// ranges is a list of numbers up to most, and ranges of these.
func ranges(dst *[]vswitch.Range, most uint16) key.Value {
	typ := fmt.Sprintf(`list of integers, 0 to %d, and of ranges such as "1-%d"`, most, most)
	return listOf(typ, dst, func(v any) (vswitch.Range, error) { return readRange(v, most) }, vswitch.Range.String)
}

func readRange(v any, most uint16) (r vswitch.Range, err error) {
	s, err := text(v)
	if err != nil {
		return r, err
	}
	if r, err = vswitch.ParseRange(s, most); err != nil {
		err = fmt.Errorf("is wrong: %w", err)
	}
	return r, err
}

// setName returns the name of a set if v is one: @NAME.
func setName(v any) (string, bool) {
	s, _ := v.(string)
	return strings.CutPrefix(s, "@")
}

// An element is an element of a list that may name sets.
type element[T any] struct {
	value T
	set   string // not ""; then there is no value
}

// mixed reads a list of values and names of sets.
func mixed[T any](v any, read func(any) (T, error)) (values []T, sets []string, err error) {
	list, err := readList(v, func(v any) (e element[T], err error) {
		if name, ok := setName(v); ok {
			if name == "" {
				return e, fmt.Errorf(`is "@", must be the name of a set such as "@admins"`)
			}
			return element[T]{set: name}, nil
		}
		e.value, err = read(v)
		return e, err
	})
	for _, e := range list {
		if e.set != "" {
			sets = append(sets, e.set)
		} else {
			values = append(values, e.value)
		}
	}
	return values, sets, err
}

// showMixed is the inverse of mixed.
func showMixed[T any](values []T, sets []string, show func(T) string) any {
	return append(showList(values, show), showList(sets, func(s string) string { return "@" + s })...)
}

// addresses is a list of addresses, prefixes and names of sets.
func addresses(dst *vswitch.AddressMatch) key.Value {
	return key.Make("list of strings, IP addresses, prefixes or sets", dst, func(v any) (m vswitch.AddressMatch, err error) {
		m.Prefixes, m.Sets, err = mixed(v, key.Network)
		return m, err
	}, func(m vswitch.AddressMatch) any { return showMixed(m.Prefixes, m.Sets, key.ShowNetwork) })
}

// portList is a list of ports, ranges and names of sets.
func portList(dst *vswitch.PortMatch) key.Value {
	return key.Make(`list of integers, 0 to 65535, of ranges and of sets`, dst, func(v any) (m vswitch.PortMatch, err error) {
		m.Ranges, m.Sets, err = mixed(v, func(v any) (vswitch.Range, error) { return readRange(v, 0xffff) })
		return m, err
	}, func(m vswitch.PortMatch) any { return showMixed(m.Ranges, m.Sets, vswitch.Range.String) })
}

// A number is a value that may have a name.
type number[T uint8 | uint16] struct {
	value T
	name  string
}

// etherTypes and protocols are names by IANA, in lower case.
var (
	etherTypes = []number[uint16]{
		{vswitch.EtherTypeLLC, "llc"}, {0x0800, "ipv4"}, {0x0806, "arp"}, {0x8035, "rarp"}, {0x86dd, "ipv6"},
		{0x8847, "mpls"}, {0x8863, "pppoe-discovery"}, {0x8864, "pppoe-session"}, {0x888e, "eapol"}, {0x88cc, "lldp"},
	}
	protocols = []number[uint8]{
		{1, "icmp"}, {2, "igmp"}, {6, "tcp"}, {17, "udp"}, {47, "gre"}, {50, "esp"}, {51, "ah"}, {58, "icmpv6"},
		{89, "ospf"}, {103, "pim"}, {112, "vrrp"}, {132, "sctp"},
	}
)

// Names of ICMP and ICMPv6 types, as in nft(8).
var (
	icmpNames = []number[uint8]{
		{0, "echo-reply"}, {3, "destination-unreachable"}, {5, "redirect"}, {8, "echo-request"},
		{9, "router-advertisement"}, {10, "router-solicitation"}, {11, "time-exceeded"}, {12, "parameter-problem"},
	}
	icmpv6Names = []number[uint8]{
		{1, "destination-unreachable"}, {2, "packet-too-big"}, {3, "time-exceeded"}, {4, "parameter-problem"},
		{128, "echo-request"}, {129, "echo-reply"},
		{130, "mld-listener-query"}, {131, "mld-listener-report"}, {132, "mld-listener-done"}, {143, "mld2-listener-report"},
		{133, "nd-router-solicit"}, {134, "nd-router-advert"}, {135, "nd-neighbor-solicit"}, {136, "nd-neighbor-advert"},
		{137, "nd-redirect"},
	}
)

// named is a list of numbers, of which some have names.
func named[T uint8 | uint16](what string, dst *[]T, names []number[T]) key.Value {
	most := ^T(0)
	typ := fmt.Sprintf("list of %s: %s, or integers, 0 to %d", what, wordsOf(names), most)
	return listOf(typ, dst, func(v any) (T, error) { return readNumber(v, names) }, func(n T) string { return showNumber(n, names) })
}

func wordsOf[T uint8 | uint16](names []number[T]) string {
	return strings.Join(showList(names, func(n number[T]) string { return strconv.Quote(n.name) }), ", ")
}

func readNumber[T uint8 | uint16](v any, names []number[T]) (T, error) {
	s, err := text(v)
	if err != nil {
		return 0, err
	}
	if i := slices.IndexFunc(names, func(n number[T]) bool { return n.name == s }); i >= 0 {
		return names[i].value, nil
	}
	n, err := strconv.ParseUint(s, 0, 64)
	if err != nil || n > uint64(^T(0)) {
		known := showList(names, func(n number[T]) string { return n.name })
		return 0, fmt.Errorf("is %q, must be a number up to %d or one of %s%s", s, ^T(0), wordsOf(names), nearest.Hint(s, known))
	}
	return T(n), nil
}

func showNumber[T uint8 | uint16](v T, names []number[T]) string {
	if i := slices.IndexFunc(names, func(n number[T]) bool { return n.value == v }); i >= 0 {
		return names[i].name
	}
	if ^T(0) > 255 {
		return fmt.Sprintf("%#04x", v)
	}
	return strconv.Itoa(int(v))
}

// icmpTypes is a list of types, of which some have names, optionally with codes.
func icmpTypes(dst *[]vswitch.ICMPType, names []number[uint8]) key.Value {
	typ := fmt.Sprintf("list of types: %s, or integers, 0 to 255", wordsOf(names))
	return listOf(typ, dst, func(v any) (t vswitch.ICMPType, err error) {
		s, err := text(v)
		if err != nil {
			return t, err
		}
		word, code, hasCode := strings.Cut(s, "/")
		n, err := readNumber(word, names)
		if err == nil {
			t, err = vswitch.ICMPType{Type: n, Code: vswitch.AnyCode}, nil
			if hasCode {
				if t, err = vswitch.ParseICMPType(fmt.Sprintf("%d/%s", n, code)); err != nil {
					err = fmt.Errorf("is wrong: %w", err)
				}
			}
		}
		return t, err
	}, func(t vswitch.ICMPType) string {
		s := showNumber(t.Type, names)
		if t.Code != vswitch.AnyCode {
			s += fmt.Sprintf("/%d", t.Code)
		}
		return s
	})
}

func tcpFlags(dst *vswitch.FlagMatch) key.Value {
	return key.Make("list of flags", dst, func(v any) (m vswitch.FlagMatch, err error) {
		words, err := readList(v, key.String)
		if err != nil {
			return m, err
		}
		if m, err = vswitch.ParseTCPFlags(words); err != nil {
			err = fmt.Errorf("is wrong: %w", err)
		}
		return m, err
	}, func(m vswitch.FlagMatch) any { return append([]string{}, m.Words()...) })
}

func fragment(dst *vswitch.FragmentMatch) key.Value {
	return key.Make(`boolean, or "any"`, dst, func(v any) (vswitch.FragmentMatch, error) {
		switch v {
		case "any":
			return vswitch.FragmentAny, nil
		case true:
			return vswitch.FragmentYes, nil
		case false:
			return vswitch.FragmentNo, nil
		}
		return 0, fmt.Errorf(`is %s, must be true, false or "any"`, key.KindOf(v))
	}, func(m vswitch.FragmentMatch) any {
		if m == vswitch.FragmentAny {
			return "any"
		}
		return m == vswitch.FragmentYes
	})
}
