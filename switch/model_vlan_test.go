package vswitch_test

import (
	"bytes"
	"encoding/binary"
	"slices"

	vswitch "vswitchd/switch"
)

// The model's VLANs: which VLAN a frame is in, who carries it, and with which tags it leaves.

// A modelFrame is a parsed frame: its addresses, its VLAN, and the tag with that VLAN.
type modelFrame struct {
	says     *modelMessage // what the generator has put in
	raw      []byte
	dst, src vswitch.MAC
	vlan     uint16
	tagged   bool // raw has that tag
	tpid     uint16
	pcp      uint16 // priority and DEI, in place
	customer uint16 // the customer's VLAN: that of the next tag
	more     bool   // there is a next tag
}

// bare returns the bytes of f without the tag of its VLAN.
func (f *modelFrame) bare() []byte {
	if f.tagged {
		return slices.Concat(f.raw[:12], f.raw[16:])
	}
	return f.raw
}

// reserved reports whether f is to one of the addresses 01:80:C2:00:00:0X.
func (f *modelFrame) reserved() bool {
	return bytes.Equal(f.dst[:5], []byte{1, 0x80, 0xc2, 0, 0}) && f.dst[5] < 16
}

func (p *modelPort) mode() vswitch.VLANMode {
	switch {
	case p.cfg.VLANMode != vswitch.VLANDefault:
		return p.cfg.VLANMode
	case p.cfg.Tag != 0:
		return vswitch.VLANAccess
	default:
		return vswitch.VLANTrunk
	}
}

func (p *modelPort) carries(vlan uint16) bool {
	switch p.mode() {
	case vswitch.VLANAccess, vswitch.VLANTunnel:
		return vlan == p.cfg.Tag
	case vswitch.VLANTrunk:
		return len(p.cfg.Trunks) == 0 || slices.Contains(p.cfg.Trunks, vlan)
	default:
		in := len(p.cfg.Trunks) == 0 || slices.Contains(p.cfg.Trunks, vlan)
		return vlan == p.cfg.Tag || in && (vlan != 0 || p.cfg.Tag == 0)
	}
}

// takes reports whether p carries frames with a customer's VLAN.
func (p *modelPort) takes(customer uint16) bool {
	switch p.mode() {
	case vswitch.VLANAccess:
		return customer == 0
	case vswitch.VLANTunnel:
		return len(p.cfg.CVLANs) == 0 || slices.Contains(p.cfg.CVLANs, customer)
	}
	return true
}

// gets reports whether p carries the VLANs of f.
func (p *modelPort) gets(f modelFrame) bool { return p.carries(f.vlan) && p.takes(f.customer) }

// tagAt returns the tag that b begins with, or false.
func tagAt(b []byte) (tpid, tci uint16, ok bool) {
	if len(b) < 2 {
		return 0, 0, false
	}
	tpid = binary.BigEndian.Uint16(b)
	ok = tpid == 0x8100 || tpid == 0x88a8
	if ok && len(b) >= 6 {
		tci = binary.BigEndian.Uint16(b[2:])
	}
	return tpid, tci, ok
}

// parse parses a frame from p. It returns the reason for which the frame is dropped, or "".
func (p *modelPort) parse(in *modelMessage) (f modelFrame, reason string) {
	raw := in.bytes
	if len(raw) < 14 {
		return f, "too-short"
	}
	f.says, f.raw = in, raw
	copy(f.dst[:], raw)
	copy(f.src[:], raw[6:])
	if !p.relays(f) {
		return f, "reserved-address"
	}
	if f.src[0]&1 != 0 || f.src == (vswitch.MAC{}) {
		return f, "bad-source"
	}
	native := p.cfg.Tag
	if p.mode() == vswitch.VLANTrunk {
		native = 0
	}
	f.vlan, f.tpid, f.pcp = native, 0x8100, uint16(p.cfg.Priority)<<13
	tpid, tci, tagged := tagAt(raw[12:])
	switch {
	case tagged && len(raw) < 18:
		return f, "too-short"
	case p.mode() == vswitch.VLANTunnel:
		if p.cfg.QinQ != vswitch.QinQ8021Q {
			f.tpid = 0x88a8
		}
		f.more, f.customer = tagged, tci&0xfff
	case tagged:
		f.tagged, f.tpid, f.pcp = true, tpid, tci&0xf000
		if p.cfg.PriorityOverride {
			f.pcp = tci&0x1000 | uint16(p.cfg.Priority)<<13
		}
		_, next, more := tagAt(raw[16:])
		f.more, f.customer = more, next&0xfff
		if vid := tci & 0xfff; vid != 0 {
			f.vlan = vid
			if p.mode() == vswitch.VLANAccess {
				return f, "vlan"
			}
			if !p.carries(vid) {
				return f, "vlan"
			}
			return f, ""
		}
	}
	if !p.gets(f) {
		return f, "vlan"
	}
	return f, ""
}

// relays reports whether the port's frames to a reserved address are relayed, or left to the guard
// that counts them under its own reason.
func (p *modelPort) relays(f modelFrame) bool {
	switch {
	case p.cfg.Guards.BPDU && f.isBPDU():
		return true
	case f.reserved():
		return p.cfg.GroupFwdMask>>f.dst[5]&1 != 0
	case f.dst == pvst:
		return p.cfg.GroupFwdMask&1 != 0
	}
	return true
}

var pvst = vswitch.MAC{1, 0, 0x0c, 0xcc, 0xcc, 0xcd}

func (f *modelFrame) isBPDU() bool {
	switch f.dst.String() {
	case "01:80:c2:00:00:00", "01:80:c2:00:00:08", "01:00:0c:cc:cc:cd":
		return true
	}
	return false
}

// with returns the bytes of f with a tag instead of that of its VLAN.
func (f *modelFrame) with(tpid, tci uint16) []byte {
	tag := binary.BigEndian.AppendUint16(nil, tpid)
	tag = binary.BigEndian.AppendUint16(tag, tci)
	bare := f.bare()
	return slices.Concat(bare[:12], tag, bare[12:])
}

// shaped returns the bytes of f as they leave by p.
func (p *modelPort) shaped(f modelFrame) []byte {
	urgent := f.pcp&0xe000 != 0
	adds := p.cfg.PriorityTags == vswitch.PriorityTagsNonzero || p.cfg.PriorityTags == vswitch.PriorityTagsAlways

	bare := f.vlan == p.cfg.Tag
	switch p.mode() {
	case vswitch.VLANTrunk, vswitch.VLANNativeTagged:
		bare = false
	case vswitch.VLANNativeUntagged:
		bare = bare && !f.more
	}
	switch {
	case bare && adds && urgent && !f.more:
		return f.with(0x8100, f.pcp)
	case bare:
		return f.bare()
	case f.vlan != 0:
		return f.with(f.tpid, f.pcp|f.vlan)
	case f.more:
		return f.with(f.tpid, f.pcp)
	}
	var keep bool // the priority tag
	switch p.cfg.PriorityTags {
	case vswitch.PriorityTagsNo:
	case vswitch.PriorityTagsNonzero:
		keep = urgent
	case vswitch.PriorityTagsAlways:
		keep = urgent || f.tagged
	default:
		keep = f.tagged
	}
	if keep {
		return f.with(f.tpid, f.pcp)
	}
	return f.bare()
}
