package vswitch_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/datadriven"

	vswitch "vswitchd/switch"
)

// Multicast in scenarios.

// multicastFrame reads a line about IP multicast, and returns nil if the line is about something
// else. n is the place of the frame in its batch.
func (s *scenario) multicastFrame(words []string, n int) []byte {
	if len(words) < 3 {
		return nil
	}
	id := s.sent<<8 | n
	src := address(words[0])
	var b []byte
	switch rest := words[2:]; words[1] {
	case ">":
		group, err := netip.ParseAddr(words[2])
		if err != nil {
			return nil
		}
		b = multicastData(src, group, id)
		if i := slices.Index(words, "from"); i >= 0 {
			b = multicastDataFrom(src, must(netip.ParseAddr(words[i+1])), group, id)
		}
	case "reports": // IGMPv2, MLDv1
		b = oldReport(src, must(netip.ParseAddr(rest[0])), id)
	case "reports-v1":
		b = igmpV1(src, hostIPv4, must(netip.ParseAddr(rest[0])), id, 0x12)
	case "queries-v1":
		b = igmpV1(src, must(netip.ParseAddr(rest[0])), noIPv4, id, 0x11)
	case "leaves":
		b = leaveOf(src, must(netip.ParseAddr(rest[0])), id)
	case "joins", "quits": // IGMPv3, MLDv2
		kind := byte(4)
		if words[1] == "quits" {
			kind = 3
		}
		var records [][]byte
		v6 := strings.Contains(rest[0], ":")
		for g := range strings.SplitSeq(rest[0], ",") {
			records = append(records, record(kind, must(netip.ParseAddr(g))))
		}
		b = reportOf(src, v6, id, records...)
	case "includes", "excludes", "allows", "blocks", "is-in", "is-ex": // GROUP [A,…]
		kinds := map[string]byte{"is-in": 1, "is-ex": 2, "includes": 3, "excludes": 4, "allows": 5, "blocks": 6}
		group := must(netip.ParseAddr(rest[0]))
		var sources []netip.Addr
		if len(rest) > 1 && rest[1] != "vlan" {
			for a := range strings.SplitSeq(rest[1], ",") {
				sources = append(sources, must(netip.ParseAddr(a)))
			}
		}
		b = reportOf(src, group.Is6(), id, record(kinds[words[1]], group, sources...))
	case "queries": // FROM [GROUP]
		from := must(netip.ParseAddr(rest[0]))
		group := noIPv6
		if from.Is4() {
			group = noIPv4
		}
		if len(rest) > 1 && rest[1] != "vlan" {
			group = must(netip.ParseAddr(rest[1]))
		}
		b = queryFor(src, from, group, id)
	case "announces": // PIM hello or MRD advertisement
		switch {
		case rest[0] == "pim":
			b = ipv4(src, hostIPv4, netip.MustParseAddr("224.0.0.13"), id, 103, nil, []byte{0x20, 0, 0, 0})
		default:
			b = mld(src, hostIPv6, netip.MustParseAddr("ff02::6a"), id, 151, 20, 0, 0, 0, 0, 0, 0)
		}
	default:
		return nil
	}
	if i := slices.Index(words, "spoil"); i >= 0 { // byte N from the end
		b[len(b)-must(strconv.Atoi(words[i+1]))] ^= 1
	}
	if v := vlanOf(words, -1); v >= 0 {
		tag := binary.BigEndian.AppendUint16([]byte{0x81, 0}, uint16(v))
		b = slices.Concat(b[:12], tag, b[12:])
	}
	return b
}

// sameUntagged returns the place in the batch of a frame whose bytes, without a tag, are those of
// b, and the tag of b. -1: there is none.
func sameUntagged(b []byte, batch []testFrame) (n int, tag string) {
	plain := func(b []byte) []byte {
		if len(b) <= 18 {
			return b
		}
		if etype := binary.BigEndian.Uint16(b[12:]); etype == 0x8100 || etype == 0x88a8 {
			return slices.Concat(b[:12], b[16:])
		}
		return b
	}
	if p := plain(b); len(p) < len(b) {
		tag = fmt.Sprintf("[vlan %d]", binary.BigEndian.Uint16(b[14:])&0xfff)
		if b[12] == 0x88 {
			tag = "[s-" + tag[1:]
		}
	}
	return slices.IndexFunc(batch, func(f testFrame) bool { return f.unmarked && bytes.Equal(plain(f.bytes), plain(b)) }), tag
}

// members adds, deletes and configures static members of groups.
func (s *scenario) members(d *datadriven.TestData) (out string, err error) {
	c := vswitch.Change{KeepStatic: true, SetGroups: true}
	verb := d.CmdArgs[0].Key
	for _, words := range lines(d) { // GROUP at PORT [from SOURCE] [vlan N]
		e := vswitch.StaticGroup{Group: must(netip.ParseAddr(words[0])), Port: words[2], VLAN: uint16(vlanOf(words, 0))}
		if i := slices.Index(words, "from"); i >= 0 {
			e.Source = must(netip.ParseAddr(words[i+1]))
		}
		switch verb {
		case "add":
			err = s.s.AddGroup(e)
		case "delete":
			err = s.s.DelGroup(e)
		case "set":
			c.Groups = append(c.Groups, e)
			continue
		default:
			s.t.Fatalf("members cannot %q", verb)
		}
		if err != nil {
			s.checkError(err)
			out += err.Error() + "\n"
		}
	}
	if verb == "set" {
		_, err = s.s.Apply(&c)
		return "", err
	}
	return out, nil
}

// mdb lists the multicast database.
func (s *scenario) mdb(*datadriven.TestData) (string, error) {
	var out strings.Builder
	inVLAN := func(vlan uint16) string {
		if vlan == 0 {
			return ""
		}
		return fmt.Sprintf(" vlan %d", vlan)
	}
	entries, nets := s.s.MDB(vswitch.AnyVLAN)
	for _, e := range entries {
		if e.Static {
			source := ""
			if e.Source.IsValid() {
				source = fmt.Sprintf(" from %v", e.Source)
			}
			fmt.Fprintf(&out, "%v%s%s at %s, static\n", e.Group, source, inVLAN(e.VLAN), e.Port)
			continue
		}
		fmt.Fprintf(&out, "%v%s%s at %s, for %d s\n", e.Group, sourcesOf(&e), inVLAN(e.VLAN), e.Port, e.Expires/time.Second)
	}
	for _, n := range nets {
		what := "IPv4"
		if n.IPv6 {
			what = "IPv6"
		}
		fmt.Fprint(&out, what, inVLAN(n.VLAN))
		if n.Querier.IsValid() {
			fmt.Fprintf(&out, ", querier %v for %d s", n.Querier, n.Expires/time.Second)
		}
		if !n.Snooping {
			fmt.Fprint(&out, ", flooding")
		}
		if len(n.Routers) > 0 {
			fmt.Fprint(&out, ", routers ", strings.Join(n.Routers, " "))
		}
		fmt.Fprintln(&out)
	}
	if out.Len() == 0 {
		return "empty\n", nil
	}
	return out.String(), nil
}

// sourcesOf describes the sources of a membership, with the seconds for which they are wanted.
func sourcesOf(e *vswitch.MDBEntry) string {
	var wanted, blocked []string
	for _, s := range e.Sources {
		if s.Blocked {
			blocked = append(blocked, s.Address.String())
		} else {
			wanted = append(wanted, fmt.Sprintf("%v (%d s)", s.Address, s.Expires/time.Second))
		}
	}
	text := ""
	if !e.Exclude {
		text = " from " + strings.Join(wanted, " ")
	} else if len(wanted) > 0 {
		text = " also from " + strings.Join(wanted, " ")
	}
	if len(blocked) > 0 {
		text += " not from " + strings.Join(blocked, " ")
	}
	return text
}

func (s *scenario) mcastCounts(*datadriven.TestData) (string, error) {
	return s.counts(func(p *labPort) map[string]uint64 { return p.counters.Mcast().ByName() }), nil
}
