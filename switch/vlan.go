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
	// of that VLAN leave with a tag. The port does not carry VLAN 0, unless that is Tag: who
	// receives frames without a tag from the port would take them for frames in VLAN Tag.
	VLANNativeTagged

	// VLANNativeUntagged is a trunk on which frames that arrive without a tag are in VLAN Tag.
	// Frames of that VLAN leave without their tag, unless another tag follows, which would then be
	// taken for the VLAN.
	VLANNativeUntagged

	// VLANTunnel (dot1q-tunnel): all frames that arrive, with tags or without, are in VLAN Tag.
	// They leave by trunks with another, outer tag of the type that QinQ names, which is removed
	// when they leave by a tunnel port. Tags that the frames arrive with are the customer's.
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

// QinQ is the type of the outer tags of frames that arrive at a VLANTunnel port. Names are those of
// Open vSwitch (ovs-vswitchd.conf.db(5), Port table, other_config:qinq-ethtype).
type QinQ string

// Values of QinQ.
const (
	QinQ8021AD QinQ = "802.1ad" // 0x88A8, as on the ports of a provider's network; the default
	QinQ8021Q  QinQ = "802.1q"  // 0x8100, for switches that know no other type
)

// PriorityTags says which of the frames that leave by a port without a VLAN have a priority tag: a
// tag of VLAN 0, which has a priority (PCP) alone. These are frames in the port's untagged VLAN,
// and frames in VLAN 0.
//
// A frame in whose payload another tag comes first keeps the priority tag that it came with in VLAN
// 0, and is given none in other VLANs: the other tag would be taken for the frame's VLAN, or for
// the customer's.
type PriorityTags string

// Values of PriorityTags. Names are those of Open vSwitch (ovs-vswitchd.conf.db(5), Port table,
// other_config:priority-tags), which has no PriorityTagsKeep.
const (
	PriorityTagsKeep    PriorityTags = "keep"       // frames of a trunk that came with one in VLAN 0; the default
	PriorityTagsNo      PriorityTags = "no"         // none
	PriorityTagsNonzero PriorityTags = "if-nonzero" // frames of priority 1 to 7
	PriorityTagsAlways  PriorityTags = "always"     // these, and frames as with PriorityTagsKeep
)

const (
	maxVID      = 4095
	maxPriority = 7
	noVLAN      = uint16(0xffff) // no VLAN at all
	tpidDot1Q   = uint16(0x8100) // IEEE 802.1Q-2018, table 9-1: C-tag
	tpidDot1AD  = uint16(0x88a8) // S-tag
	vlanTagLen  = 4
	macsLen     = 12 // both addresses, which come before a tag
	tciVID      = 0x0fff
	tciPCP      = 0xe000
	pcpShift    = 13
	vlanSetSize = (maxVID + 1) / 64
)

// A vlanSet is a set of VLAN ids.
type vlanSet [vlanSetSize]uint64

func (s *vlanSet) add(v uint16)      { s[v/64&(vlanSetSize-1)] |= 1 << (v % 64) }
func (s *vlanSet) remove(v uint16)   { s[v/64&(vlanSetSize-1)] &^= 1 << (v % 64) }
func (s *vlanSet) has(v uint16) bool { return s[v/64&(vlanSetSize-1)]>>(v%64)&1 != 0 }

// vlanRule is a port's VLAN settings in the form that the hot path uses.
type vlanRule struct {
	plain    bool     // no settings: every VLAN, and tags stay as they are
	all      bool     // the port carries every VLAN, and every one of a customer's
	tunnel   bool     // tags of arriving frames are the customer's
	access   bool     // arriving frames with tags are dropped
	native   bool     // the port has tagged VLANs besides bare
	numbered bool     // the port does not carry VLAN 0
	override bool     // the priority of arriving tags is replaced by that of tag
	outer    tag      // the tag of the VLAN of frames that arrive without one
	pvid     uint16   // VLAN of frames that arrive without a tag
	bare     uint16   // VLAN whose frames leave without a tag, or noVLAN
	trunk    *vlanSet // VLANs that the port carries; nil: all
	cvlans   *vlanSet // customers' VLANs that the port carries; nil: all
	prio     priorityRule
}

// A priorityRule is a PriorityTags.
type priorityRule uint8

const (
	prioNo priorityRule = iota
	prioKeep
	prioNonzero
	prioAlways
)

var priorityRules = map[PriorityTags]priorityRule{
	"": prioKeep, PriorityTagsKeep: prioKeep, PriorityTagsNo: prioNo, PriorityTagsNonzero: prioNonzero, PriorityTagsAlways: prioAlways,
}

// makeVLANRule checks c's VLAN settings.
func makeVLANRule(c *PortConfig) (vlanRule, error) {
	mode := c.VLANMode
	if mode == VLANDefault {
		mode = VLANTrunk
		if c.Tag != 0 {
			mode = VLANAccess
		}
	}
	if err := checkVLANs(c, mode); err != nil {
		return vlanRule{}, err
	}
	r := vlanRule{bare: noVLAN, pvid: c.Tag, override: c.PriorityOverride, prio: priorityRules[c.PriorityTags]}
	switch mode {
	case VLANAccess, VLANTunnel:
		r.access, r.tunnel = mode == VLANAccess, mode == VLANTunnel
		r.bare, r.trunk = c.Tag, makeVLANSet(c.Tag)
		r.cvlans = makeVLANSet(c.CVLANs...)
		if r.access {
			r.cvlans = makeVLANSet(0)
		}
	case VLANTrunk:
		r.pvid, r.trunk = 0, makeVLANSet(c.Trunks...)
		r.plain = r.trunk == nil && r.prio == prioKeep && !r.override
	case VLANNativeTagged, VLANNativeUntagged:
		if r.trunk = makeVLANSet(c.Trunks...); r.trunk != nil {
			r.trunk.add(c.Tag) // a port always carries its native VLAN
		}
		if r.numbered = c.Tag != 0; r.numbered && r.trunk != nil {
			r.trunk.remove(0)
		}
		if mode == VLANNativeUntagged {
			r.bare, r.native = c.Tag, true
		}
	}
	tpid := tpidDot1Q
	if r.tunnel && c.QinQ != QinQ8021Q {
		tpid = tpidDot1AD
	}
	r.all = r.trunk == nil && !r.numbered
	r.outer = makeTag(tpid, uint16(c.Priority)<<pcpShift|r.pvid)
	return r, nil
}

// checkVLANs returns what is wrong with c's VLAN settings.
func checkVLANs(c *PortConfig, mode VLANMode) error {
	_, known := priorityRules[c.PriorityTags]
	bad := func(key, format string, args ...any) error {
		return &settingError{key, fmt.Errorf("%w: "+format, append([]any{ErrBadVLAN}, args...)...)}
	}
	switch {
	case mode >= numVLANModes:
		return bad("vlan_mode", "vlan_mode %d", mode)
	case c.Tag >= maxVID:
		return bad("tag", "tag %d is not in 0 to %d", c.Tag, maxVID-1)
	case mode == VLANTunnel && c.Tag == 0:
		return bad("vlan_mode", "a port with vlan_mode %s has no tag", mode)
	case mode != VLANTunnel && len(c.CVLANs) > 0:
		return bad("cvlans", "cvlans without vlan_mode %s", VLANTunnel)
	case mode != VLANTunnel && c.QinQ == QinQ8021Q:
		return bad("qinq_ethtype", "qinq_ethtype without vlan_mode %s", VLANTunnel)
	case c.Priority < 0 || c.Priority > maxPriority:
		return bad("priority", "priority %d is not in 0 to %d", c.Priority, maxPriority)
	case mode == VLANTunnel && c.PriorityOverride:
		return bad("priority_override", "priority_override with vlan_mode %s", mode)
	case !slices.Contains([]QinQ{"", QinQ8021AD, QinQ8021Q}, c.QinQ):
		return bad("qinq_ethtype", "qinq_ethtype %q", c.QinQ)
	case !known:
		return bad("priority_tags", "priority_tags %q", c.PriorityTags)
	}
	for _, v := range c.Trunks {
		if v > maxVID {
			return bad("trunks", "trunk %d is not in 0 to %d", v, maxVID)
		}
	}
	for _, v := range c.CVLANs {
		if v > maxVID {
			return bad("cvlans", "customer VLAN %d is not in 0 to %d", v, maxVID)
		}
	}
	return nil
}

// makeVLANSet makes a set; of no VLANs, nil.
func makeVLANSet(vlans ...uint16) *vlanSet {
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
func (r *vlanRule) carries(v uint16) bool {
	if r.trunk == nil {
		return v != 0 || !r.numbered
	}
	return r.trunk.has(v)
}

// carriesCustomer reports whether the port carries VLAN v of a customer; 0: frames without a tag of
// the customer's. An access port carries these alone.
func (r *vlanRule) carriesCustomer(v uint16) bool { return r.cvlans == nil || r.cvlans.has(v) }

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
