package vswitch

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
)

// A judge is the guard that looks into packets once more, written to be easily compared with the
// documentation: it makes copies, uses no offsets but those of the packet at hand, and looks up
// addresses in lists. A packet of which a field is missing is dropped.
type judge struct {
	Guards
	frame *Frame
}

// missing is what a judge panics with if the packet ends too early.
type missing struct{}

// A view is the part of a frame from some header on, which reads bytes or panics with missing.
type view struct {
	b []byte // up to the end of Head
}

func (v view) take(from, n int) []byte {
	if from+n > len(v.b) {
		panic(missing{})
	}
	return slices.Clone(v.b[from : from+n])
}

func (v view) u8(at int) int    { return int(v.take(at, 1)[0]) }
func (v view) u16(at int) int   { return int(binary.BigEndian.Uint16(v.take(at, 2))) }
func (v view) from(at int) view { return view{v.b[min(at, len(v.b)):]} }

func (j *judge) on() bool { return len(j.AllowedIPs) > 0 || j.RA || j.DHCP }

// unreadable is the reason of packets that cannot be judged.
const unreadable = "guard-unreadable"

func (j *judge) mac(b []byte) bool {
	return len(j.AllowedMACs) == 0 || slices.Contains(j.AllowedMACs, MAC(b))
}

func (j *judge) listed(b []byte) bool {
	a, _ := netip.AddrFromSlice(b)
	return slices.ContainsFunc(j.AllowedIPs, func(p netip.Prefix) bool { return p.Contains(a) })
}

func (j *judge) ip6(b []byte) bool {
	if j.listed(b) {
		return true
	}
	if !netip.MustParsePrefix("fe80::/10").Contains(netip.AddrFrom16([16]byte(b))) {
		return false
	}
	if !j.EUI64LinkLocal {
		return true
	}
	return slices.ContainsFunc(j.AllowedMACs, func(m MAC) bool {
		return bytes.Equal(b, []byte{0xfe, 0x80, 0, 0, 0, 0, 0, 0, m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})
	})
}

// verdict is the reason for which the frame is dropped, or "".
func (j *judge) verdict() (why string) {
	if !j.on() {
		return ""
	}
	defer func() {
		switch r := recover(); r.(type) {
		case nil:
		case missing:
			why = unreadable
		default:
			panic(r)
		}
	}()
	at := 12
	for all := (view{j.frame.Head}); ; {
		etype := all.u16(at)
		at += 2
		if etype < 0x600 {
			if at+6 > len(all.b) && len(all.b) == j.frame.Len {
				return ""
			}
			switch string(all.take(at, 6)) {
			case "\xaa\xaa\x03\x00\x00\x00", "\xaa\xaa\x03\x00\x00\xf8":
				at += 6
				continue
			}
			return ""
		}
		switch etype {
		case 0x8100, 0x88a8, 0x9100, 0x9200:
			at += 2
		case 0x806, 0x8035:
			if len(j.AllowedIPs) == 0 {
				return ""
			}
			return j.arp(all.from(at))
		case 0x800:
			if len(j.AllowedIPs) == 0 && !j.DHCP {
				return ""
			}
			return j.ipv4(all.from(at), at)
		case 0x86dd:
			return j.ipv6(all.from(at), at)
		default:
			return ""
		}
	}
}

// JudgeGuards returns the reason for which guards that look into packets drop a frame, according to
// a judge, or "".
func JudgeGuards(g Guards, frame []byte) string {
	return (&judge{g, &Frame{Head: slices.Clip(frame[:min(len(frame), HeadLen)]), Len: len(frame)}}).verdict()
}

// sum is where the checksum is requested, from an offset of the frame on; far away if it is not.
func (j *judge) sum(at int) int {
	if o := j.frame.Offload; o.Flags&HdrNeedsCsum != 0 {
		return int(o.CsumStart) + int(o.CsumOffset) - at
	}
	return 1 << 30
}

func (j *judge) arp(v view) string {
	if !bytes.Equal(v.take(0, 6), []byte{0, 1, 8, 0, 6, 4}) || len(v.b) < 28 || j.sum(0) < 1<<30 {
		return unreadable
	}
	op, sender := v.u16(6), v.take(14, 4)
	switch {
	case !j.mac(v.take(8, 6)):
		return "mac-spoofed"
	case bytes.Equal(sender, make([]byte, 4)) && (op == 1 || op == 3), j.listed(sender):
		return ""
	}
	return "ip-spoofed"
}

func (j *judge) ipv4(v view, at int) string {
	version, l4 := v.u8(0)>>4, v.u8(0)&15*4
	src, dst := v.take(12, 4), v.take(16, 4)
	if version != 4 || l4 < 20 || j.sum(at) < l4 {
		return unreadable
	}
	isUDP, more, offset := v.u8(9) == 17, v.u16(6)&0x2000 != 0, v.u16(6)&0x1fff
	udp := v.from(l4)
	ports := len(udp.b) >= 4 && j.sum(at+l4) >= 4
	if len(j.AllowedIPs) > 0 && !j.listed(src) {
		discover := bytes.Equal(src, []byte{0, 0, 0, 0}) && bytes.Equal(dst, []byte{255, 255, 255, 255}) &&
			isUDP && !more && offset == 0 && ports && udp.u16(2) == 67
		if !discover {
			return "ip-spoofed"
		}
	}
	switch {
	case !j.DHCP || !isUDP || offset != 0:
		return ""
	case !ports:
		return unreadable
	case udp.u16(0) == 67 || udp.u16(2) == 68:
		return "dhcp-guard"
	}
	return ""
}

func (j *judge) ipv6(v view, at int) string {
	if v.u8(0)>>4 != 6 {
		return unreadable
	}
	src, length := v.take(8, 16), v.u16(4)
	v.take(0, 40)
	end := j.frame.Len - at
	if length != 0 && 40+length < end {
		end = 40 + length
	}
	v.b = v.b[:min(len(v.b), end)]
	proto, pos, fragment, later, whole := v.u8(6), 40, false, false, false
	func() {
		defer func() {
			if r := recover(); r != nil && r != (missing{}) {
				panic(r)
			}
		}()
		for !whole {
			switch proto {
			case 0, 43, 60, 135, 139, 140, 253, 254:
				v.take(pos, 8)
				proto, pos = v.u8(pos), pos+8+8*v.u8(pos+1)
			case 51:
				v.take(pos, 8)
				proto, pos = v.u8(pos), pos+8+4*v.u8(pos+1)
			case 44:
				v.take(pos, 8)
				fragment = true
				later = v.u16(pos+2)>>3 != 0
				proto, pos, whole = v.u8(pos), pos+8, later
			default:
				whole = true
			}
		}
	}()
	icmp := whole && !later && proto == 58
	if len(j.AllowedIPs) > 0 && !j.ip6(src) {
		if !bytes.Equal(src, make([]byte, 16)) || !icmp || fragment || pos >= len(v.b) {
			return "ip-spoofed"
		}
		switch v.u8(pos) {
		case 131, 133, 143:
		case 135:
			if pos+24 > len(v.b) || !j.ip6(v.take(pos+8, 16)) {
				return "ip-spoofed"
			}
		default:
			return "ip-spoofed"
		}
	}
	switch sum := j.sum(at + pos); {
	case !whole || sum < 0:
		return unreadable
	case later:
		return ""
	case proto == 17 && j.DHCP:
		udp := v.from(pos)
		if len(udp.b) < 4 || sum < 4 {
			return unreadable
		} else if udp.u16(0) == 547 || udp.u16(2) == 546 {
			return "dhcp-guard"
		}
	case icmp:
		if sum != 2 && sum < 1<<29 {
			return unreadable
		}
		return j.icmpv6(v.from(pos), end-pos, fragment)
	case j.RA && proto >= 148:
		return "ra-guard"
	}
	return ""
}

func (j *judge) icmpv6(v view, length int, fragment bool) string {
	typ := v.u8(0)
	if j.RA && (typ == 134 || typ == 137) {
		return "ra-guard"
	}
	at, isND := map[int]int{133: 8, 134: 16, 135: 24, 136: 24, 137: 40}[typ]
	switch {
	case !isND || len(j.AllowedIPs) == 0:
		return ""
	case fragment:
		return "ip-spoofed"
	case at > len(v.b):
		return unreadable
	case typ == 136 && !j.ip6(v.take(8, 16)):
		return "ip-spoofed"
	case len(j.AllowedMACs) == 0 || typ == 137:
		return ""
	}
	for at < length {
		if at+8 > len(v.b) || v.u8(at+1) == 0 {
			return unreadable
		}
		if o := v.u8(at); (o == 1 || o == 2) && !j.mac(v.take(at+2, 6)) {
			return "mac-spoofed"
		}
		at += 8 * v.u8(at+1)
	}
	return ""
}

// guardsOf returns the guards that the bits of a number stand for.
func guardsOf(bits uint8) (g Guards) {
	if bits&1 != 0 {
		g.AllowedMACs = []MAC{{2, 0, 0, 0, 0, 0xa}, {2, 0, 0, 0, 0, 0xc}}
	}
	if bits&2 != 0 {
		for _, p := range []string{"10.0.0.1/32", "10.1.0.0/16", "10.1.2.0/24", "fd00::/64", "fd00::1/128", "fd01::/100"} {
			g.AllowedIPs = append(g.AllowedIPs, netip.MustParsePrefix(p))
		}
	}
	g.EUI64LinkLocal = bits&7 == 7
	g.DHCP, g.RA = bits&8 != 0, bits&16 != 0
	return g
}

// compareWithJudge compares the guard with the judge, on a frame whose Head has no spare capacity:
// a read past its end panics.
func compareWithJudge(t *testing.T, bits uint8, data []byte, sum uint16) string {
	t.Helper()
	gs := guardsOf(bits)
	cfg := DefaultPortConfig("a")
	cfg.Guards = gs
	g, err := makeGuard(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	n := min(len(data), HeadLen)
	f := &Frame{Head: slices.Clip(slices.Clone(data[:n])), Len: len(data)}
	if sum != 0 {
		f.Offload = Offload{Flags: HdrNeedsCsum, CsumStart: sum}
	}
	got := ""
	if g != nil && g.packets {
		if why, ok := g.allowsPacket(f); !ok {
			got = why.String()
		}
	}
	if want := (&judge{gs, f}).verdict(); got != want {
		t.Errorf("guards %+v: %q, want %q, checksum at %d: %x", gs, got, want, sum, data)
	}
	return got
}

// randomGuarded returns a random frame, in which each field has often a value that matters.
func randomGuarded(r *rand.Rand) []byte {
	one := func(choices ...string) []byte { return []byte(choices[r.IntN(len(choices))]) }
	b := append(make([]byte, 12), []byte(nil)...)
	for r.IntN(4) == 0 {
		b = append(b, one("\x81\x00\x00\x05", "\x88\xa8\x00\x05", "\x91\x00\x00\x00", "\x00\x40\xaa\xaa\x03\x00\x00\x00", "\x00\x40\xaa\xaa\x03\x00\x00\xf8")...)
	}
	v6 := func() []byte {
		return one("\xfd\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01",
			"\xfd\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x0f\xff\xff\xff", "\xfd\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x10\x00\x00\x00",
			"\xfe\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xfe\x00\x00\x0a", "\xfe\x80\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff\xfe\x00\x00\x0b",
			"\xfd\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01", string(make([]byte, 16)))
	}
	v4 := func() []byte {
		return one("\x0a\x00\x00\x01", "\x0a\x00\x00\x02", "\x0a\x01\xff\xff", "\x0a\x02\x00\x00", "\x00\x00\x00\x00", "\xff\xff\xff\xff")
	}
	mac := func() []byte { return one("\x02\x00\x00\x00\x00\x0a", "\x02\x00\x00\x00\x00\x0b") }
	udp := func() []byte {
		return slices.Concat(one("\x00\x43", "\x00\x44", "\x02\x22", "\x02\x23", "\x10\x00"), one("\x00\x43", "\x00\x44", "\x02\x22", "\x10\x00"), make([]byte, 8))
	}
	switch r.IntN(6) {
	case 0:
		b = append(b, one("\x08\x06\x00\x01\x08\x00\x06\x04\x00", "\x80\x35\x00\x01\x08\x00\x06\x04\x00", "\x08\x06\x00\x06\x08\x00\x06\x04\x00")...)
		b = slices.Concat(b, []byte{byte(1 + r.IntN(4))}, mac(), v4(), make([]byte, 10))
	case 1:
		b = slices.Concat(b, one("\x08\x00"), one("\x45", "\x45", "\x46", "\x44", "\x65"), make([]byte, 5), one("\x00\x00", "\x20\x00", "\x00\x09"),
			make([]byte, 1), one("\x11", "\x06"), make([]byte, 2), v4(), v4(), udp())
	default:
		var body []byte
		next := one("\x3a", "\x3a", "\x11", "\x06", "\x32", "\xc8")[0]
		switch next {
		case 58:
			body = slices.Concat([]byte{byte(one("\x80", "\x83", "\x85", "\x86", "\x87", "\x88", "\x89", "\x8f")[0])}, make([]byte, 7), v6()[:16*r.IntN(2)])
			for r.IntN(3) != 0 {
				body = slices.Concat(body, one("\x01\x01", "\x02\x01", "\x0e\x01", "\x0e\x00"), mac())
			}
		case 17:
			body = udp()
		}
		for r.IntN(2) == 0 {
			h := make([]byte, 8*(1+r.IntN(3)))
			h[0], h[1] = next, byte(len(h)/8-1)
			next = one("\x00", "\x3c", "\x2b", "\x2c", "\x33", "\xfd")[0]
			if next == 44 {
				h = h[:8]
				copy(h[1:], one("\x00\x00\x00", "\x00\x00\x01", "\x00\x00\x08"))
			}
			body = append(h, body...)
		}
		length := len(body) + r.IntN(3)*r.IntN(2) - r.IntN(2)*r.IntN(2)
		b = slices.Concat(b, one("\x86\xdd"), one("\x60", "\x60", "\x60", "\x40"), make([]byte, 3), []byte{byte(length >> 8), byte(length), next, 255}, v6(), v6(), body)
	}
	b = append(b, make([]byte, r.IntN(4))...)
	if r.IntN(8) == 0 {
		b = b[:14+r.IntN(len(b)-13)]
	}
	return b
}

// TestGuardsAgainstModel compares the guard with the judge on random frames.
func TestGuardsAgainstModel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	verdicts := map[string]int{}
	for range 100_000 {
		data, sum := randomGuarded(r), 0
		if r.IntN(6) == 0 {
			sum = r.IntN(len(data))
		}
		verdicts[compareWithJudge(t, uint8(r.IntN(32)), data, uint16(sum))]++
		if t.Failed() {
			return
		}
	}
	for _, why := range []string{"", "ip-spoofed", "mac-spoofed", "dhcp-guard", "ra-guard"} {
		if verdicts[why] < 1000 {
			t.Errorf("%d of the frames have the verdict %q: this proves little", verdicts[why], why)
		}
	}
}

// FuzzGuardPackets does the same for any frame.
func FuzzGuardPackets(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		f.Add(uint8(r.IntN(32)), randomGuarded(r), uint16(r.IntN(2)*r.IntN(100)))
	}
	f.Fuzz(func(t *testing.T, bits uint8, data []byte, sum uint16) {
		if len(data) < MinFrameLen || len(data) > MaxFrameLen {
			return
		}
		compareWithJudge(t, bits, data, sum)
	})
}

// TestIPSetAgainstList compares sets of random prefixes with the prefixes themselves, at their
// edges.
func TestIPSetAgainstList(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 300 {
		var ps []netip.Prefix
		for range r.IntN(20) {
			b := make([]byte, 4+12*r.IntN(2))
			for i := range b {
				b[i] = byte(r.IntN(2)) * byte(r.IntN(256))
			}
			a, _ := netip.AddrFromSlice(b)
			p, _ := a.Prefix(r.IntN(a.BitLen() + 1))
			if !a.Is4In6() {
				ps = append(ps, p)
			}
		}
		s := makeIPSet(ps)
		for _, p := range ps {
			first := p.Addr()
			last := first.AsSlice()
			for i := p.Bits(); i < len(last)*8; i++ {
				last[i/8] |= 0x80 >> (i % 8)
			}
			end, _ := netip.AddrFromSlice(last)
			for _, a := range []netip.Addr{first, first.Prev(), end, end.Next()} {
				if !a.IsValid() {
					continue
				}
				want := slices.ContainsFunc(ps, func(p netip.Prefix) bool { return p.Contains(a) })
				b := a.As16()
				got := s.has6(ipv6At(b[:]))
				if a.Is4() {
					got = s.has4(binary.BigEndian.Uint32(b[12:]))
				}
				if got != want {
					t.Fatalf("%s in %v: %v, want %v", a, ps, got, want)
				}
			}
		}
	}
}
