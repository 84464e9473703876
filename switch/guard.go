package vswitch

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// What a port may send: PortConfig's guards, compiled for stage guard (stage_guard.go).

// Errors of guards that contradict each other or other settings of the port.
var (
	ErrBadGuard     = errors.New("bad guard setting")
	ErrBadPrefix    = errors.New("not a prefix of IP addresses")
	ErrBadLinkLocal = errors.New("bad rule for link-local addresses")
)

// Guards restrict what the station behind a port may send. Frames that a guard drops are not
// learned. The zero value restricts nothing.
type Guards struct {
	// AllowedMACs are the source addresses that frames may have; empty: any.
	AllowedMACs []MAC

	// AllowedIPs are the IP addresses that the station may use; empty: any. They hold for the
	// source addresses of IPv4 and IPv6 packets, the sender's address in ARP and RARP, and the
	// target of neighbour advertisements. If AllowedMACs is not empty either, it holds for the
	// hardware addresses in ARP, RARP and neighbour discovery as well. Prefixes have no bits set
	// behind their length.
	//
	// Always allowed is what a station without an address needs: DHCP requests and ARP probes from
	// 0.0.0.0; duplicate address detection for an address that is allowed, MLD reports and router
	// solicitations from ::; and link-local IPv6 addresses, see EUI64LinkLocal.
	AllowedIPs []netip.Prefix

	// EUI64LinkLocal allows only link-local IPv6 addresses that are made of one of AllowedMACs. It
	// needs AllowedMACs and AllowedIPs.
	EUI64LinkLocal bool

	// DHCP drops what DHCP servers and relays send: UDP packets from port 67 or to port 68 (IPv4),
	// from port 547 or to port 546 (IPv6), and first fragments of these.
	DHCP bool

	// RA drops ICMPv6 router advertisements and redirects, first fragments of these included, and
	// packets of which it cannot be told whether they are such (RFC 7113).
	RA bool

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
	ips    *ipSet // nil: any
	eui64  bool
	dhcp   bool
	ra     bool
	bpdu   bool
	locked bool

	packets bool // a guard looks into packets
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
			return nil, &settingError{"allowed_macs", fmt.Errorf("%w: allowed address: %w: %s", ErrBadGuard, ErrBadMAC, m)}
		}
	}
	if len(gs.AllowedMACs) > 0 {
		for _, m := range c.MACs {
			if !slices.Contains(gs.AllowedMACs, m) {
				err := fmt.Errorf("%w: the port's own address %s is not among the allowed addresses", ErrBadGuard, m)
				return nil, &settingError{"allowed_macs", err}
			}
		}
	}
	for _, p := range gs.AllowedIPs {
		if !p.IsValid() || p.Addr().Is4In6() || p != p.Masked() {
			return nil, &settingError{"allowed_ips", fmt.Errorf("%w: %s", ErrBadPrefix, p)}
		}
	}
	if gs.EUI64LinkLocal && (len(gs.AllowedMACs) == 0 || len(gs.AllowedIPs) == 0) {
		return nil, &settingError{"allowed_link_local", fmt.Errorf("%w: it needs allowed MAC and IP addresses", ErrBadLinkLocal)}
	}
	g := &guard{
		macs: makeMACSet(gs.AllowedMACs), eui64: gs.EUI64LinkLocal,
		dhcp: gs.DHCP, ra: gs.RA, bpdu: gs.BPDU, locked: gs.Locked,
	}
	if len(gs.AllowedIPs) > 0 {
		g.ips = makeIPSet(gs.AllowedIPs)
	}
	g.packets = g.ips != nil || g.ra || g.dhcp
	if len(g.macs) == 0 && !g.packets && !g.bpdu && !g.locked {
		return nil, nil
	}
	return g, nil
}

// clone returns gs with slices that the caller does not share.
func (gs Guards) clone() Guards {
	gs.AllowedMACs, gs.AllowedIPs = slices.Clone(gs.AllowedMACs), slices.Clone(gs.AllowedIPs)
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
