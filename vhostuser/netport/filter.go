package netport

import (
	"encoding/binary"
	"slices"

	vswitch "vswitchd/switch"
)

// This file is the filter that a guest's driver sets by the control queue (virtio 1.2, section
// 5.1.6.5), like the filter of a network card. The specification defines it as a help for the
// driver, not as its protection: a frame is received if the device does not have enough
// information to decide.

// An rxFilter selects the frames that a guest receives. It is immutable. A port without a filter
// (nil) sends all frames to its guest.
type rxFilter struct {
	own       []uint64 // addresses that the driver was given or has set; nil: none is known
	unicast   []uint64 // further addresses, sorted
	multicast []uint64 // sorted

	anyMAC       bool // the driver has not set any addresses
	allUnicast   bool // also if there are too many addresses, or the driver's is not known
	allMulticast bool
	noUnicast    bool
	noMulticast  bool
	noBroadcast  bool

	vlans *vlanSet // nil: all
}

// A vlanSet has a bit for each VLAN.
type vlanSet [4096 / 64]uint64

func (s *vlanSet) has(vid uint16) bool { return s[vid/64&63]&(1<<(vid%64)) != 0 }

// maxFilterMACs is the largest number of addresses in each table of a driver. A driver with
// more addresses receives all frames of the kind: "best-effort" filtering is what the
// specification promises.
const maxFilterMACs = 256

// macKey returns the address at the beginning of b as a number.
func macKey(b []byte) uint64 {
	return uint64(binary.BigEndian.Uint16(b))<<32 | uint64(binary.BigEndian.Uint32(b[2:]))
}

// keyMAC is the inverse of macKey.
func keyMAC(key uint64) (mac vswitch.MAC) {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], key)
	copy(mac[:], b[2:])
	return mac
}

const broadcastKey = 0xffff_ffff_ffff

// accepts reports whether the guest receives a frame. It is on the hot path.
func (f *rxFilter) accepts(head []byte) bool {
	if f.vlans != nil && head[12] == 0x81 && head[13] == 0 && len(head) >= 16 {
		// A tag of VLAN 0 only carries a priority.
		if vid := binary.BigEndian.Uint16(head[14:]) & 0xfff; vid != 0 && !f.vlans.has(vid) {
			return false
		}
	}
	if f.anyMAC {
		return true
	}
	key := macKey(head)
	if head[0]&1 != 0 {
		switch {
		case key == broadcastKey:
			return !f.noBroadcast
		case f.noMulticast:
			return false
		case f.allMulticast:
			return true
		}
		_, found := slices.BinarySearch(f.multicast, key)
		return found
	}
	switch {
	case f.noUnicast:
		return false
	case f.allUnicast || slices.Contains(f.own, key):
		return true
	}
	_, found := slices.BinarySearch(f.unicast, key)
	return found
}

// transmitFiltered is Transmit for a guest with a filter. It makes another list of the frames that
// the filter accepts, because a Transmit must not change the list that it is given.
func (p *Port) transmitFiltered(filter *rxFilter, frames []*vswitch.Frame) (sent int) {
	var wanted [vswitch.MaxBatch]*vswitch.Frame
	for len(frames) > 0 {
		n, part := 0, frames[:min(len(frames), len(wanted))]
		for _, f := range part {
			if filter.accepts(f.Head) {
				wanted[n] = f
				n++
			} else {
				f.Refuse(vswitch.DropFiltered)
			}
		}
		if n > 0 {
			sent += p.transmitAll(wanted[:n])
		}
		frames = frames[len(part):]
	}
	return sent
}
