package vswitch

import (
	"fmt"
	"slices"
)

// A VLANMode is how a port handles tags. Names and rules are those of Open vSwitch
// (ovs-vswitchd.conf.db(5), Port table, vlan_mode).
type VLANMode uint8

const (
	// VLANDefault is VLANAccess if PortConfig.Tag is set, else VLANTrunk.
	VLANDefault VLANMode = iota

	// VLANAccess: the port is in VLAN Tag only. Frames leave without a tag; frames that arrive with
	// a tag are dropped, unless it is a priority tag (VLAN 0).
	VLANAccess

	// VLANTrunk: the port carries the VLANs in Trunks, or all VLANs if Trunks is empty. Frames keep
	// their tags. Frames without a tag are in VLAN 0.
	VLANTrunk

	// VLANNativeTagged is a trunk on which frames that arrive without a tag are in VLAN Tag. Frames
	// of that VLAN leave with a tag.
	VLANNativeTagged

	// VLANNativeUntagged is a trunk on which frames that arrive without a tag are in VLAN Tag.
	// Frames of that VLAN leave without their tag, unless another tag follows, which would then be
	// taken for the VLAN.
	VLANNativeUntagged

	// VLANTunnel (dot1q-tunnel): all frames that arrive, with tags or without, are in VLAN Tag.
	// They leave by trunks with another, outer tag of type 0x88A8 (IEEE 802.1ad), which is removed
	// when they leave by a tunnel port.
	VLANTunnel

	numVLANModes
)

var vlanModeNames = [numVLANModes]string{
	"", "access", "trunk", "native-tagged", "native-untagged", "dot1q-tunnel",
}

// String returns the mode's name in the configuration.
func (m VLANMode) String() string {
	if m < numVLANModes {
		return vlanModeNames[m]
	}
	return "unknown"
}

// ParseVLANMode is the inverse of String. The empty string is VLANDefault.
func ParseVLANMode(s string) (VLANMode, error) {
	if i := slices.Index(vlanModeNames[:], s); i >= 0 {
		return VLANMode(i), nil
	}
	return 0, fmt.Errorf("%w: vlan_mode %q", ErrBadVLAN, s)
}

const (
	maxVID      = 4095
	noVLAN      = uint16(0xffff) // no VLAN at all
	tpidDot1Q   = uint16(0x8100) // IEEE 802.1Q-2018, table 9-1: C-tag
	tpidDot1AD  = uint16(0x88a8) // S-tag
	vlanTagLen  = 4
	macsLen     = 12 // both addresses, which come before a tag
	tciVID      = 0x0fff
	vlanSetSize = (maxVID + 1) / 64
)

// A vlanSet is a set of VLAN ids.
type vlanSet [vlanSetSize]uint64

func (s *vlanSet) add(v uint16)      { s[v/64&(vlanSetSize-1)] |= 1 << (v % 64) }
func (s *vlanSet) has(v uint16) bool { return s[v/64&(vlanSetSize-1)]>>(v%64)&1 != 0 }

// vlanRule is a port's VLAN settings in the form that the hot path uses.
type vlanRule struct {
	plain  bool     // no settings: every VLAN, and tags stay as they are
	tunnel bool     // tags of arriving frames are payload
	access bool     // arriving frames with tags are dropped
	pvid   uint16   // VLAN of frames that arrive without a tag
	bare   uint16   // VLAN whose frames leave without a tag, or noVLAN
	native bool     // the port has tagged VLANs besides bare
	trunk  *vlanSet // VLANs that the port carries; nil: all
}

// makeVLANRule checks c's VLAN settings.
func makeVLANRule(c *PortConfig) (vlanRule, error) {
	if c.Tag >= maxVID {
		return vlanRule{}, fmt.Errorf("%w: tag %d is not in 0 to %d", ErrBadVLAN, c.Tag, maxVID-1)
	}
	for _, v := range c.Trunks {
		if v > maxVID {
			return vlanRule{}, fmt.Errorf("%w: trunk %d is not in 0 to %d", ErrBadVLAN, v, maxVID)
		}
	}
	mode := c.VLANMode
	if mode == VLANDefault {
		mode = VLANTrunk
		if c.Tag != 0 {
			mode = VLANAccess
		}
	}
	switch mode {
	case VLANAccess, VLANTunnel:
		only := new(vlanSet)
		only.add(c.Tag)
		return vlanRule{
			access: mode == VLANAccess, tunnel: mode == VLANTunnel,
			pvid: c.Tag, bare: c.Tag, trunk: only,
		}, nil
	case VLANTrunk:
		return vlanRule{plain: len(c.Trunks) == 0, bare: noVLAN, trunk: makeTrunk(c.Trunks)}, nil
	case VLANNativeTagged, VLANNativeUntagged:
		r := vlanRule{pvid: c.Tag, bare: noVLAN, trunk: makeTrunk(c.Trunks)}
		if r.trunk != nil {
			r.trunk.add(c.Tag) // a port always carries its native VLAN
		}
		if mode == VLANNativeUntagged {
			r.bare, r.native = c.Tag, true
		}
		return r, nil
	}
	return vlanRule{}, fmt.Errorf("%w: vlan_mode %d", ErrBadVLAN, c.VLANMode)
}

func makeTrunk(vlans []uint16) *vlanSet {
	if len(vlans) == 0 {
		return nil
	}
	s := new(vlanSet)
	for _, v := range vlans {
		s.add(v)
	}
	return s
}

// carries reports whether the port carries VLAN v.
func (r *vlanRule) carries(v uint16) bool { return r.trunk == nil || r.trunk.has(v) }

// named returns the VLANs that a port with these settings carries. r.trunk is not nil.
func (r *vlanRule) named() []uint16 {
	var vs []uint16
	for v := range uint16(maxVID + 1) {
		if r.trunk.has(v) {
			vs = append(vs, v)
		}
	}
	return vs
}
