package vswitch

import (
	"errors"
	"fmt"
	"slices"
)

// What a port may send: PortConfig's guards, compiled for stage guard (stage_guard.go).

// ErrBadGuard is the error of guards that contradict each other or other settings of the port.
var ErrBadGuard = errors.New("bad guard setting")

// Guards restrict what the station behind a port may send. Frames that a guard drops are not
// learned. The zero value restricts nothing.
type Guards struct {
	// AllowedMACs are the source addresses that frames may have; empty: any.
	AllowedMACs []MAC

	// BPDU drops spanning tree BPDUs: frames to 01:80:C2:00:00:00 (IEEE 802.1Q), 01:80:C2:00:00:08
	// (IEEE 802.1ad) and 01:00:0C:CC:CC:CD (Cisco's PVST+), whatever GroupFwdMask says.
	BPDU bool

	// Locked drops frames from an address that is not a static or pinned FDB entry of the port in
	// the frame's VLAN.
	Locked bool
}

// A guard is the compiled form of Guards. It is immutable, and belongs to a portView.
type guard struct {
	macs   macSet // allowed source addresses; empty: any
	bpdu   bool
	locked bool
}

// Group addresses of BPDUs.
const (
	addrBPDU         = addr(0x0180C2000000) // IEEE 802.1Q-2018, table 8-1
	addrProviderBPDU = addr(0x0180C2000008) // likewise: Provider Bridge group address
	addrPVST         = addr(0x01000CCCCCCD) // Cisco's PVST+ and Rapid PVST+

	bpduMask = uint16(1<<0 | 1<<8) // bits of GroupFwdMask for the first two
)

// makeGuard checks c's guards and compiles them. It returns nil if there are none.
func makeGuard(c *PortConfig) (*guard, error) {
	gs := &c.Guards
	for _, m := range gs.AllowedMACs {
		if !m.IsUnicast() {
			return nil, fmt.Errorf("%w: allowed address: %w: %s", ErrBadGuard, ErrBadMAC, m)
		}
	}
	if len(gs.AllowedMACs) > 0 {
		for _, m := range c.MACs {
			if !slices.Contains(gs.AllowedMACs, m) {
				return nil, fmt.Errorf("%w: the port's own address %s is not among the allowed addresses", ErrBadGuard, m)
			}
		}
	}
	g := &guard{macs: makeMACSet(gs.AllowedMACs), bpdu: gs.BPDU, locked: gs.Locked}
	if len(g.macs) == 0 && !g.bpdu && !g.locked {
		return nil, nil
	}
	return g, nil
}

// clone returns gs with slices that the caller does not share.
func (gs Guards) clone() Guards {
	gs.AllowedMACs = slices.Clone(gs.AllowedMACs)
	return gs
}

// passed returns the bits of the reserved addresses that classify lets pass: those of
// c.GroupFwdMask, and those of BPDUs that the guard drops under its own reason.
func (g *guard) passed(c *PortConfig) uint16 {
	if g != nil && g.bpdu {
		return c.GroupFwdMask | bpduMask
	}
	return c.GroupFwdMask
}

// A macSet is a sorted list of addresses.
type macSet []addr

func makeMACSet(macs []MAC) macSet {
	var s macSet
	for _, m := range macs {
		s = append(s, m.addr())
	}
	slices.Sort(s)
	return slices.Compact(s)
}

// has reports whether a is in the set. Most sets have one address.
func (s macSet) has(a addr) bool {
	if len(s) == 1 {
		return s[0] == a
	}
	_, found := slices.BinarySearch(s, a)
	return found
}
