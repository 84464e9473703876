package vswitch

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"slices"
)

// The compiled form of filters, which filter.go explains.

// maxClassWords is the most memory that the bit vectors of one field of a filter take, in words of
// 8 bytes: 32 MiB.
const maxClassWords = 4 << 20

// A filter is the compiled form of a FilterConfig. It is immutable, except for the counters, and is
// shared by all ports that have the filter.
type filter struct {
	config FilterConfig
	rules  []filterRule // the last one is the default, which matches if no other decides
	uses   fieldSet     // fields that some rule names
	words  int          // of a vector
	all    []uint64     // the vector of all rules, without the default
	summed uint64       // its summary
	fields []classifier // one for each field in uses
}

// A filterRule is a rule, or the default, as stage filter uses it.
type filterRule struct {
	filter   string
	name     string
	action   FilterAction
	uses     fieldSet
	counters *RuleCounters
}

// Classes that all fields have.
const (
	classAbsent = iota // frames that do not have the field
	classUnread        // frames whose field cannot be read
)

// A classifier finds the class of a frame for one field.
type classifier struct {
	field   filterField
	vectors []uint64 // of all classes, one behind the other
	sums    []uint64 // their summaries

	small *smallTable // of fields of up to 17 bits
	table rangeTable  // of MAC and IPv4 addresses
	v6    longTable   // of IPv6 addresses
}

// class returns the class of a frame.
func (c *classifier) class(k *filterKey) uint32 {
	switch {
	case k.unread>>c.field&1 != 0:
		return classUnread
	case k.has>>c.field&1 == 0:
		return classAbsent
	case c.small != nil:
		return c.small.class(uint32(k.values[c.field]))
	case !k.v6 || c.field < fieldSrc:
		return c.table.class(k.values[c.field])
	case c.field == fieldSrc:
		return c.v6.class(k.src)
	}
	return c.v6.class(k.dst)
}

// A smallTable has the class of each number of up to 17 bits. Pages are shared.
type smallTable struct {
	index [512]uint16
	pages [][256]uint32
}

func (t *smallTable) class(v uint32) uint32 { return t.pages[t.index[v>>8&511]][v&255] }

// A rangeTable has the class of numbers: ranges begin at starts, the first one at 0. The number of
// ranges is a power of two: the last class has many ranges that begin at the end.
type rangeTable struct {
	starts  []uint64
	classes []uint32
}

// class makes a binary search without branches, so that the processor overlaps the searches for
// several frames.
func (t *rangeTable) class(v uint64) uint32 {
	at := uint(0)
	for half := uint(len(t.starts)) / 2; half > 0; half /= 2 {
		_, less := bits.Sub64(v, t.starts[at+half], 0)
		at += half & (uint(less) - 1)
	}
	return t.classes[at]
}

// makeRangeTable makes a table of ranges, and repeats the last class until their number is a power
// of two.
func makeRangeTable(starts []uint64, classes []uint32) rangeTable {
	for n := len(starts); n&(n-1) != 0; n = len(starts) {
		starts = append(starts, ^uint64(0))
		classes = append(classes, classes[n-1])
	}
	return rangeTable{starts, classes}
}

// A longTable has the class of IPv6 addresses. Prefixes of up to 64 bits are found by the high half
// of an address alone.
type longTable struct {
	high rangeTable   // a class, or lowTable and an index in low
	low  []rangeTable // for the low half of addresses with one high half
}

const lowTable = 1 << 31

func (t *longTable) class(v ipv6) uint32 {
	c := t.high.class(v.hi)
	if c&lowTable != 0 {
		c = t.low[c&^lowTable].class(v.lo)
	}
	return c
}

func makeLongTable(starts []ipv6, classes []uint32) (t longTable) {
	var highs []uint64
	var found []uint32
	for i := 0; i < len(starts); {
		hi, j := starts[i].hi, i
		var lows []uint64
		var inner []uint32
		if starts[i].lo != 0 { // i > 0, as the first range begins at 0
			lows, inner = append(lows, 0), append(inner, classes[i-1])
		}
		for ; j < len(starts) && starts[j].hi == hi; j++ {
			lows, inner = append(lows, starts[j].lo), append(inner, classes[j])
		}
		i = j
		if len(lows) == 1 {
			highs, found = append(highs, hi), append(found, inner[0])
			continue
		}
		highs, found = append(highs, hi), append(found, lowTable|uint32(len(t.low)))
		t.low = append(t.low, makeRangeTable(lows, inner))
		if next := hi + 1; next != 0 && (i == len(starts) || starts[i].hi != next) {
			highs, found = append(highs, next), append(found, classes[i-1])
		}
	}
	t.high = makeRangeTable(highs, found)
	return t
}

// compileFilter makes the compiled form of a filter that has been checked. Rules keep the counters
// of rules with the same names in was, which may be nil.
func compileFilter(c *FilterConfig, sets map[string]*SetConfig, was *filter) (*filter, error) {
	n := len(c.Rules)
	f := &filter{config: c.clone(), words: (n + 63) / 64}
	f.all = make([]uint64, f.words)
	counters := make(map[string]*RuleCounters)
	if was != nil {
		for i := range was.rules {
			counters[was.rules[i].name] = was.rules[i].counters
		}
	}
	fresh := make([]RuleCounters, n+1) // together, for the cache's sake
	add := func(name string, action FilterAction, uses fieldSet) {
		r := filterRule{c.Name, name, action, uses, counters[name]}
		if r.counters == nil {
			r.counters = &fresh[len(f.rules)]
		}
		f.rules = append(f.rules, r)
		f.uses |= uses
	}
	var matches [numFilterFields][]fieldMatch
	for i := range f.config.Rules {
		r := &f.config.Rules[i]
		setBit(f.all, i)
		uses := fieldSet(0)
		for what := range numFilterFields {
			m, named := r.match(what, sets)
			if named {
				m.rule = i
				matches[what] = append(matches[what], m)
				uses |= 1 << what
			}
		}
		add(r.Name, r.Action, uses)
	}
	f.summed = summary(f.all)
	add(DefaultRule, c.Default, f.uses)
	for what, ms := range matches {
		if len(ms) == 0 {
			continue
		}
		b := &classBuilder{filter: f, matches: ms, known: make(map[string]uint32)}
		if err := b.build(filterField(what)); err != nil {
			return nil, err
		}
		f.fields = append(f.fields, b.classifier)
	}
	return f, nil
}

// A fieldMatch is the values of a field that a rule matches: spans of numbers, or of IPv4 and IPv6
// addresses, that may overlap.
type fieldMatch struct {
	rule int
	low  []span[ipv6] // numbers and IPv4 addresses, whose high halves are 0
	v6   []span[ipv6]
}

func (m *fieldMatch) add(first, last uint64) {
	m.low = append(m.low, span[ipv6]{ipv6{0, first}, ipv6{0, last}})
}

func (m *fieldMatch) addRanges(ranges []Range) {
	for _, r := range ranges {
		m.add(uint64(r.First), uint64(r.Last))
	}
}

// match returns the values of a field that the rule matches. named is false if the rule does not
// name the field.
func (r *FilterRule) match(what filterField, sets map[string]*SetConfig) (m fieldMatch, named bool) {
	switch what {
	case fieldSrcMAC:
		return m, m.addMACs(r.SrcMACs)
	case fieldDstMAC:
		return m, m.addMACs(r.DstMACs)
	case fieldVLAN:
		m.addRanges(r.VLANs)
	case fieldPCP:
		m.addRanges(r.PCPs)
	case fieldEtherType:
		for _, t := range r.EtherTypes {
			m.add(uint64(t), uint64(t))
		}
	case fieldSrc:
		return m, m.addAddresses(&r.Src, sets)
	case fieldDst:
		return m, m.addAddresses(&r.Dst, sets)
	case fieldProto:
		for _, p := range r.Protos {
			m.add(uint64(p), uint64(p))
		}
	case fieldFragment:
		switch r.Fragment {
		case FragmentYes:
			m.add(fragmentFirst, fragmentLater)
		case FragmentNo:
			m.add(fragmentNone, fragmentNone)
		}
	case fieldSrcPort:
		return m, m.addPorts(&r.SrcPorts, sets)
	case fieldDstPort:
		return m, m.addPorts(&r.DstPorts, sets)
	case fieldICMP:
		m.addICMP(r.ICMPTypes, 0)
		m.addICMP(r.ICMPv6Types, icmpOverIPv6)
	case fieldTCPFlags:
		return m, m.addFlags(r)
	}
	return m, len(m.low) > 0
}

func (m *fieldMatch) addMACs(macs []MACMask) bool {
	for _, mac := range macs {
		spans, _ := mac.spans()
		m.low = append(m.low, spans...)
	}
	return len(macs) > 0
}

// spans returns the addresses that match, in the order of filterMAC. ok is false if that would be
// too many spans.
func (m MACMask) spans() (list []span[ipv6], ok bool) {
	mac, mask := filterMAC(m.MAC.addr()), filterMAC(m.Mask.addr())
	if mask == 0 {
		return []span[ipv6]{{ipv6{0, 0}, ipv6{0, uint64(addrBroadcast)}}}, true
	}
	behind := uint64(1)<<bits.TrailingZeros64(mask) - 1
	open := uint64(addrBroadcast) &^ mask &^ behind // open bits between those that are named
	const most = 8
	if bits.OnesCount64(open) > most {
		return nil, false
	}
	for v := open; ; v = (v - 1) & open {
		list = append(list, span[ipv6]{ipv6{0, mac | v}, ipv6{0, mac | v | behind}})
		if v == 0 {
			return list, true
		}
	}
}

func (m *fieldMatch) addAddresses(a *AddressMatch, sets map[string]*SetConfig) bool {
	m.addPrefixes(a.Prefixes)
	for _, name := range a.Sets {
		m.addPrefixes(sets[name].Addresses)
	}
	return a.isSet()
}

func (m *fieldMatch) addPrefixes(prefixes []netip.Prefix) {
	for _, p := range prefixes {
		b, host := p.Addr().As16(), p.Addr().BitLen()-p.Bits() // host: bits behind the prefix
		if p.Addr().Is4() {
			first := uint64(binary.BigEndian.Uint32(b[12:]))
			m.add(first, first|ones(host))
			continue
		}
		first := ipv6At(b[:])
		m.v6 = append(m.v6, span[ipv6]{first, ipv6{first.hi | ones(host-64), first.lo | ones(min(host, 64))}})
	}
}

func (m *fieldMatch) addPorts(p *PortMatch, sets map[string]*SetConfig) bool {
	m.addRanges(p.Ranges)
	for _, name := range p.Sets {
		m.addRanges(sets[name].Ports)
	}
	return p.isSet()
}

func (m *fieldMatch) addICMP(types []ICMPType, family uint64) {
	for _, t := range types {
		first, last := uint64(0), uint64(255)
		if t.Code != AnyCode {
			first, last = uint64(t.Code), uint64(t.Code)
		}
		base := family | uint64(t.Type)<<8
		m.add(base|first, base|last)
	}
}

func (m *fieldMatch) addFlags(r *FilterRule) bool {
	must, not := uint64(r.TCPFlags.Set), uint64(r.TCPFlags.Clear)
	for v := range uint64(256) {
		if v&must == must && v&not == 0 && (!r.Established || v&(tcpACK|tcpRST) != 0) {
			m.add(v, v)
		}
	}
	return r.Established || r.TCPFlags != FlagMatch{}
}

// A classBuilder makes a classifier.
type classBuilder struct {
	classifier
	filter  *filter
	matches []fieldMatch
	vector  []uint64          // of the place that a sweep has reached
	known   map[string]uint32 // classes by their vectors
	key     []byte            // scratch
}

// build makes the classifier of a field.
func (b *classBuilder) build(what filterField) error {
	b.field = what
	wild := slices.Clone(b.filter.all)
	for i := range b.matches {
		clearBit(wild, b.matches[i].rule)
	}
	unread := slices.Clone(wild)
	for i := range b.matches {
		m := &b.matches[i]
		if b.filter.rules[m.rule].action == FilterDrop && len(m.low)+len(m.v6) > 0 {
			setBit(unread, m.rule)
		}
	}
	b.add(wild)   // classAbsent
	b.add(unread) // classUnread
	starts, classes, err := b.sweep(wild, func(m *fieldMatch) []span[ipv6] { return m.low })
	if err != nil {
		return err
	}
	switch what {
	case fieldSrcMAC, fieldDstMAC, fieldSrc, fieldDst:
		lows := make([]uint64, len(starts))
		for i := range starts {
			lows[i] = starts[i].lo
		}
		b.table = makeRangeTable(lows, classes)
	default:
		b.small = makeSmallTable(starts, classes)
	}
	if what == fieldSrc || what == fieldDst {
		if starts, classes, err = b.sweep(wild, func(m *fieldMatch) []span[ipv6] { return m.v6 }); err != nil {
			return err
		}
		b.v6 = makeLongTable(starts, classes)
	}
	return nil
}

// An edge is where a rule begins or ceases to match.
type edge struct {
	at   ipv6
	rule int
	step int // 1 or -1
}

// sweep goes along all values of a field and returns the ranges of one class.
func (b *classBuilder) sweep(wild []uint64, of func(*fieldMatch) []span[ipv6]) (starts []ipv6, classes []uint32, err error) {
	var edges []edge
	for i := range b.matches {
		m := &b.matches[i]
		for _, s := range of(m) {
			edges = append(edges, edge{s.first, m.rule, 1})
			lo, carry := bits.Add64(s.last.lo, 1, 0)
			if hi, over := bits.Add64(s.last.hi, 0, carry); over == 0 {
				edges = append(edges, edge{ipv6{hi, lo}, m.rule, -1})
			}
		}
	}
	slices.SortFunc(edges, func(x, y edge) int { return cmp.Or(x.at.compare(y.at), cmp.Compare(x.rule, y.rule)) })
	depth := make([]int, len(b.filter.rules)) // spans of each rule at this place
	b.vector = slices.Clone(wild)
	starts = []ipv6{{}}
	for i := 0; ; {
		for ; i < len(edges) && edges[i].at == starts[len(starts)-1]; i++ {
			e := &edges[i]
			if depth[e.rule] += e.step; depth[e.rule] > 0 {
				setBit(b.vector, e.rule)
			} else {
				clearBit(b.vector, e.rule)
			}
		}
		class, err := b.classOf(b.vector)
		if err != nil {
			return nil, nil, err
		}
		if n := len(classes); n > 0 && classes[n-1] == class {
			starts = starts[:n]
		} else {
			classes = append(classes, class)
		}
		if i == len(edges) {
			return starts, classes, nil
		}
		starts = append(starts, edges[i].at)
	}
}

// classOf returns the class with a vector.
func (b *classBuilder) classOf(v []uint64) (uint32, error) {
	b.key = b.key[:0]
	for _, w := range v {
		b.key = binary.LittleEndian.AppendUint64(b.key, w)
	}
	if c, ok := b.known[string(b.key)]; ok {
		return c, nil
	}
	if len(b.vectors)+len(v) > maxClassWords {
		return 0, fmt.Errorf("%w: it needs too much memory; it has too many rules with lists or sets that are too long", ErrBadFilter)
	}
	c := b.add(v)
	b.known[string(b.key)] = c
	return c, nil
}

// add makes a class with a vector.
func (b *classBuilder) add(v []uint64) uint32 {
	b.vectors = append(b.vectors, v...)
	b.sums = append(b.sums, summary(v))
	return uint32(len(b.sums) - 1)
}

// summary returns the summary of a vector: bit i tells that the i-th word is not 0.
func summary(v []uint64) (sum uint64) {
	for i, w := range v {
		if w != 0 {
			sum |= 1 << i
		}
	}
	return sum
}

func setBit(v []uint64, i int)   { v[i/64] |= 1 << (i % 64) }
func clearBit(v []uint64, i int) { v[i/64] &^= 1 << (i % 64) }

func makeSmallTable(starts []ipv6, classes []uint32) *smallTable {
	t, at := new(smallTable), 0
	known := make(map[[256]uint32]uint16)
	var page [256]uint32
	for i := range t.index {
		for j := range page {
			v := uint64(i<<8 | j)
			for at+1 < len(starts) && starts[at+1].lo <= v {
				at++
			}
			page[j] = classes[at]
		}
		p, ok := known[page]
		if !ok {
			p = uint16(len(t.pages))
			t.pages = append(t.pages, page)
			known[page] = p
		}
		t.index[i] = p
	}
	return t
}
