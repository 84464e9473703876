package vswitch

import (
	"encoding/binary"
	"fmt"
	"net"
)

// A MAC is an Ethernet address, in the order of the bytes on the wire.
type MAC [6]byte

// ParseMAC parses an address such as 52:54:00:12:34:56; hyphens and dots are accepted as well.
func ParseMAC(s string) (MAC, error) {
	hw, err := net.ParseMAC(s)
	if err != nil {
		return MAC{}, err
	}
	if len(hw) != len(MAC{}) {
		return MAC{}, fmt.Errorf("address %s: not 6 bytes long", s)
	}
	return MAC(hw), nil
}

func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// IsUnicast reports whether m can be the address of a station: m is neither a group address nor
// zero.
func (m MAC) IsUnicast() bool { return m[0]&1 == 0 && m != MAC{} }

// An addr is a MAC in the low 48 bits of a word, the first byte on the wire being the most
// significant: the hot path compares words, not byte arrays.
type addr uint64

const (
	addrGroup = addr(1) << 40 // the group bit, IEEE 802-2014, 8.2.2

	// IEEE 802.1Q-2018, table 8-1: 01-80-C2-00-00-00 to -0F are not relayed by a bridge, unless
	// PortConfig.GroupFwdMask allows it. They differ in the last four bits only.
	addrReserved     = addr(0x0180C2000000)
	addrReservedMask = ^addr(0xf)
	addrBroadcast    = addr(0xffffffffffff)
)

func (m MAC) addr() addr {
	return addr(binary.BigEndian.Uint16(m[:2]))<<32 | addr(binary.BigEndian.Uint32(m[2:]))
}

func (a addr) mac() MAC {
	var m MAC
	binary.BigEndian.PutUint16(m[:2], uint16(a>>32))
	binary.BigEndian.PutUint32(m[2:], uint32(a))
	return m
}

// An fdbKey is the key of an FDB entry: 48 bits of address and 12 of VLAN.
type fdbKey uint64

const (
	keyBits = 60
	noKey   = ^fdbKey(0) // keys have fewer bits
)

func makeKey(a addr, vlan uint16) fdbKey { return fdbKey(a)<<12 | fdbKey(vlan&0xfff) }

// everywhere is the key of the entry for a station's address that is pinned in every VLAN.
func (a addr) everywhere() fdbKey { return makeKey(a|addrGroup, 0) }

// spare is the key of the entry that is used for a station without any other entry (entrySpare).
func (a addr) spare() fdbKey { return makeKey(a|addrGroup, 1) }

// station is the address of the station that an entry is for.
func (a addr) station() addr { return a &^ addrGroup }

// isEverywhere reports whether an entry is for every VLAN.
func (k fdbKey) isEverywhere() bool { return k.addr()&addrGroup != 0 }

// addr is the address of the entry, with the group bit if the entry is for every VLAN.
func (k fdbKey) addr() addr   { return addr(k >> 12) }
func (k fdbKey) vlan() uint16 { return uint16(k & 0xfff) }
