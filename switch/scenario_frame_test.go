package vswitch_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/cockroachdb/datadriven"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// Frames of scenarios, which gopacket builds and decodes.

// experimental is the type of local experiments (IEEE Std 802, 88-B5).
const experimental = 0x88b5

// address reads an address: two hexadecimal digits, which stand for 02:00:00:00:00:XX, or all six
// bytes, or "broadcast".
func address(s string) vswitch.MAC {
	switch {
	case s == "broadcast":
		return vswitchtest.Broadcast
	case len(s) == 2:
		return must(vswitch.ParseMAC("02:00:00:00:00:" + s))
	}
	return must(vswitch.ParseMAC(s))
}

// short is the inverse of address.
func short(m vswitch.MAC) string {
	s := m.String()
	if last, ok := strings.CutPrefix(s, "02:00:00:00:00:"); ok {
		return last
	}
	return s
}

// A testFrame is one frame of a "from" command.
type testFrame struct {
	bytes    []byte
	csumAt   int  // if not 0: a checksum is asked for here
	unmarked bool // the end of the payload does not tell its place in the batch

	asks  netip.Addr // who has this address? Invalid: no such request
	asker vswitch.MAC
}

// parseFrames reads a line: SOURCE > DESTINATION, then options. It returns as many frames as the
// line stands for, of which the first has number n in its batch.
func (s *scenario) parseFrames(words []string, n int) (frames []testFrame) {
	if b := s.multicastFrame(words, n); b != nil {
		return []testFrame{{bytes: b, unmarked: true}}
	}
	if f, ok := s.neighborFrame(words); ok {
		return []testFrame{f}
	}
	if len(words) < 3 || words[1] != ">" {
		s.t.Fatalf("no frame: %v", words)
	}
	src, dst := address(words[0]), address(words[2])
	var tags []*layers.Dot1Q
	var types []layers.EthernetType // of the tags, then of the payload
	var packet, flow []string       // options that describe it
	copies, length, cut, csumAt := 1, 0, -1, 0
	for i := 3; i < len(words); i += 2 {
		if i+1 == len(words) {
			s.t.Fatalf("%q without a number", words[i])
		}
		switch words[i] {
		case "arp-from", "ip-from", "ra-from", "udp-from":
			packet = append(packet, words[i], words[i+1])
			continue
		case "ip", "tcp", "udp", "sctp", "icmp", "proto", "flags", "frag":
			flow = append(flow, words[i], words[i+1])
			continue
		}
		v := must(strconv.Atoi(words[i+1]))
		switch words[i] {
		case "vlan", "s-vlan":
			tags = append(tags, &layers.Dot1Q{VLANIdentifier: uint16(v)})
			types = append(types, layers.EthernetTypeDot1Q)
			if words[i] == "s-vlan" {
				types[len(types)-1] = layers.EthernetTypeQinQ
			}
		case "pcp":
			tags[len(tags)-1].Priority = uint8(v)
		case "x":
			copies = v
		case "len":
			length = v
		case "cut":
			cut = v
		case "csum-at":
			csumAt = v
		default:
			s.t.Fatalf("no option %q of a frame", words[i])
		}
	}
	types = append(types, experimental)
	var headers []byte
	if packet != nil {
		types[len(types)-1], headers = scenarioPacket(src, packet)
	}
	if flow != nil {
		types[len(types)-1], headers = flowPacket(flow)
	}
	for i, t := range tags {
		t.Type = types[i+1]
	}
	for c := range copies {
		all := []gopacket.SerializableLayer{&layers.Ethernet{SrcMAC: src[:], DstMAC: dst[:], EthernetType: types[0]}}
		for _, t := range tags {
			all = append(all, t)
		}
		body := s.body(n+c, max(length-14-4*len(tags), 300))
		if length > 0 {
			body = body[:length-14-4*len(tags)]
		}
		if headers != nil {
			body = slices.Concat(headers, s.body(n+c, 60))
		}
		buf := gopacket.NewSerializeBuffer()
		if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{}, append(all, gopacket.Payload(body))...); err != nil {
			s.t.Fatal(err)
		}
		b := slices.Clone(buf.Bytes())
		if cut >= 0 {
			b = b[:cut]
		}
		frames = append(frames, testFrame{bytes: b, csumAt: csumAt, unmarked: cut >= 0})
	}
	return frames
}

// scenarioPacket returns the packet that options describe, without payload, and its type.
func scenarioPacket(src vswitch.MAC, options []string) (layers.EthernetType, []byte) {
	from := options[1]
	is6 := strings.Contains(from, ":")
	switch options[0] {
	case "arp-from":
		return layers.EthernetTypeARP, arp(layers.ARPReply, src, from)
	case "ra-from":
		return layers.EthernetTypeIPv6, ip6(from, layers.IPProtocolICMPv6, icmp6(134, make([]byte, 8), lla(1, src)))
	}
	payload, proto := []byte(nil), layers.IPProtocolNoNextHeader
	if len(options) > 2 { // udp-from
		payload, proto = udp(must(strconv.Atoi(options[3])), 9), layers.IPProtocolUDP
	}
	if is6 {
		return layers.EthernetTypeIPv6, ip6(from, proto, payload)
	}
	return layers.EthernetTypeIPv4, ip4(from, "255.255.255.255", proto, 0, 0, payload)
}

// body returns the payload of the n-th frame of this batch. By default it is longer than a frame's
// Head.
func (s *scenario) body(n, length int) []byte {
	mark := binary.BigEndian.AppendUint32(nil, uint32(s.sent)<<16|uint32(n))
	return bytes.Repeat(mark, (length+3)/4)[:length]
}

// from delivers a batch, and returns what has happened to each of its frames.
func (s *scenario) from(d *datadriven.TestData) (string, error) {
	s.sent++
	var batch []testFrame
	for _, words := range lines(d) {
		batch = append(batch, s.parseFrames(words, len(batch))...)
	}
	if len(batch) > vswitch.MaxBatch {
		s.t.Fatalf("%d frames are more than a batch", len(batch))
	}
	frames := make([]vswitch.Frame, len(batch))
	for i, f := range batch {
		frames[i] = vswitchtest.Frame(f.bytes)
		if f.csumAt != 0 {
			frames[i].Offload = vswitch.Offload{Flags: vswitch.HdrNeedsCsum, CsumStart: uint16(f.csumAt)}
		}
	}
	in := s.port(args(d)[0]).in
	in.Deliver(frames)

	fates := make([][]string, len(batch))
	s.probed = nil
	s.noteArrivals(batch, fates)
	for _, drop := range in.Dropped() {
		note := "dropped by " + drop.Stage
		if drop.Port != args(d)[0] && drop.Port != "" {
			note += " to " + drop.Port
		}
		note += ": " + drop.Reason
		if drop.Rule != "" {
			note += " (" + drop.Rule + ")"
		}
		for _, i := range drop.Frames {
			fates[i] = append(fates[i], note)
		}
	}
	out := merged(fates)
	if s.probed != nil {
		out += "probed: " + strings.Join(s.probed, ", ") + "\n"
	}
	return out, nil
}

// noteArrivals adds to the fate of each frame the ports that were sent the frame, in order of their
// names, and the tags with which the frame was sent.
func (s *scenario) noteArrivals(batch []testFrame, fates [][]string) {
	names := make([]string, 0, len(s.ports))
	for name := range s.ports {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		last := -1
		for _, sent := range s.ports[name].Take() {
			if isProbe(sent.Bytes) {
				s.probed = append(s.probed, name+tagsOf(sent.Bytes))
				continue
			}
			if n, _ := sameUntagged(sent.Bytes, batch); n < 0 && s.noteAnswer(name, sent.Bytes, batch, fates) {
				continue
			}
			n, tags := s.recognise(sent.Bytes, batch)
			if n <= last {
				s.t.Errorf("%s got frame %d after frame %d", name, n+1, last+1)
			}
			last = n
			fates[n] = append(fates[n], name+tags)
		}
	}
}

// recognise returns the place in the batch of a frame that was sent to a port, and the frame's
// tags. Addresses and payload have to be unchanged.
func (s *scenario) recognise(b []byte, batch []testFrame) (n int, tags string) {
	if n, tag := sameUntagged(b, batch); n >= 0 {
		return n, tag
	}
	p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.DecodeOptions{})
	if e := p.ErrorLayer(); e != nil && p.Layer(layers.LayerTypeEthernet) == nil {
		s.t.Fatalf("not a frame: %v, %x", e.Error(), b)
	}
	tags, body, etype := readTags(p)
	if len(body) < 4 {
		s.t.Fatalf("not a frame of this scenario: %x", b)
	}
	mark := int(binary.BigEndian.Uint32(body))
	if etype != experimental {
		mark = int(binary.BigEndian.Uint32(body[len(body)-4:]))
	}
	n = mark & 0xffff
	if mark>>16 != s.sent || n >= len(batch) {
		s.t.Fatalf("not a frame of this batch: %x", b)
	}
	was := batch[n].bytes
	if !bytes.Equal(b[:12], was[:12]) || !bytes.HasSuffix(was, body) || len(was)-len(body) > 14+8 {
		s.t.Errorf("frame %d was\n%x, came as\n%x", n+1, was, b)
	}
	return n, tags
}

// readTags returns the tags of a frame in brackets, and what follows them, with its type.
func readTags(p gopacket.Packet) (tags string, body []byte, etype layers.EthernetType) {
	eth := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	body, etype = eth.Payload, eth.EthernetType
	var list []string
	for _, l := range p.Layers() {
		t, ok := l.(*layers.Dot1Q)
		if !ok {
			continue
		}
		name := "vlan"
		if etype == layers.EthernetTypeQinQ {
			name = "s-vlan"
		}
		text := fmt.Sprintf("%s %d", name, t.VLANIdentifier)
		if t.Priority != 0 {
			text += fmt.Sprintf(" pcp %d", t.Priority)
		}
		list, body, etype = append(list, text), t.Payload, t.Type
	}
	if len(list) > 0 {
		tags = "[" + strings.Join(list, " ") + "]"
	}
	return tags, body, etype
}

// tagsOf returns the tags of a frame in brackets.
func tagsOf(b []byte) string {
	tags, _, _ := readTags(gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.DecodeOptions{}))
	return tags
}

// merged lists the fates of frames. Consecutive frames with the same fate share a line.
func merged(fates [][]string) string {
	var out strings.Builder
	for i := 0; i < len(fates); {
		j := i + 1
		for j < len(fates) && slices.Equal(fates[j], fates[i]) {
			j++
		}
		numbers := fmt.Sprint(i + 1)
		if j > i+1 {
			numbers = fmt.Sprintf("%d-%d", i+1, j)
		}
		fate := strings.Join(fates[i], ", ")
		if fate == "" {
			fate = "lost without a trace" // a defect of the switch
		}
		fmt.Fprintf(&out, "%s: %s\n", numbers, fate)
		i = j
	}
	return out.String()
}
