package uplink

import (
	"encoding/binary"
	"fmt"
	"math/bits"

	"golang.org/x/sys/unix"

	vswitch "vswitchd/switch"
)

// Where things lie in a slot of a TPACKET_V2 ring (linux/if_packet.h, and
// Documentation/networking/packet_mmap.rst):
//
//	struct tpacket2_hdr   32 bytes
//	struct sockaddr_ll    20 bytes
//	gap                   tp_reserve and alignment; ends with the vnet header
//	frame                 at tp_mac, tp_snaplen bytes of it
const (
	slotLen      = 4  // tp_len, u32: length of the frame
	slotSnaplen  = 8  // tp_snaplen, u32: how much of it is in the slot
	slotMac      = 12 // tp_mac, u16: where it begins
	slotVlanTCI  = 24 // tp_vlan_tci, u16
	slotVlanTPID = 26 // tp_vlan_tpid, u16

	slotAddr    = unix.SizeofTpacket2Hdr // TPACKET_ALIGN(sizeof(struct tpacket2_hdr)) is the same
	slotPktType = slotAddr + 10          // sll_pkttype, u8
	slotGap     = slotAddr + unix.SizeofSockaddrLinklayer
)

const (
	tagLen = 4 // an 802.1Q tag

	// slotRoom is how many bytes before the frame are written to: a tag to be restored, then the
	// headroom promised to the switch. The vnet header lies there too; it is read before.
	slotRoom = tagLen + vswitch.Headroom

	// slotReserve is asked for with PACKET_RESERVE. The kernel puts the network header at
	// TPACKET_ALIGN(32+20+16) + reserve + vnetHdrLen; with 6 it is aligned to 16 bytes, and 30
	// bytes lie between slotGap and the frame.
	slotReserve = 6
	slotMacWant = 96 - 14

	minSlotSize = 2048
	maxRingSize = 1 << 30
)

// A ring is a mapped PACKET_RX_RING or PACKET_TX_RING, which the kernel shares with this process.
type ring struct {
	mem      []byte
	slotSize int // a power of two
	slots    int
}

// slotSizeFor returns the slot size for an interface's MTU: a frame of that size with tags
// fits. Larger frames (GRO's, or GSO frames of a veth's peer) arrive by the copy path.
func slotSizeFor(mtu int) int {
	need := slotMacWant + 14 + vswitch.MaxTags*tagLen + min(max(mtu, 0), vswitch.MaxFrameLen)
	if need <= minSlotSize {
		return minSlotSize
	}
	return 1 << bits.Len(uint(need-1))
}

// openRing makes and maps a TPACKET_V2 ring of about size bytes; which is PACKET_RX_RING or
// PACKET_TX_RING.
func openRing(fd, which, size, slotSize int) (*ring, error) {
	page := unix.Getpagesize()
	block := max(page, slotSize) // both powers of two, so that slots follow each other without gaps
	blocks := max(size/block, 2)
	if size > maxRingSize {
		return nil, fmt.Errorf("a ring of %d bytes is larger than %d", size, maxRingSize)
	}
	req := unix.TpacketReq{
		Block_size: uint32(block),
		Block_nr:   uint32(blocks),
		Frame_size: uint32(slotSize),
		Frame_nr:   uint32(blocks * (block / slotSize)),
	}
	if err := unix.SetsockoptTpacketReq(fd, unix.SOL_PACKET, which, &req); err != nil {
		return nil, fmt.Errorf("a ring of %d slots of %d bytes: %w", req.Frame_nr, slotSize, err)
	}
	mem, err := unix.Mmap(fd, 0, block*blocks, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mapping a ring: %w", err)
	}
	// Core dumps leave the frames out; that they cannot is no reason to fail.
	_ = unix.Madvise(mem, unix.MADV_DONTDUMP)
	return &ring{mem: mem, slotSize: slotSize, slots: int(req.Frame_nr)}, nil
}

func (r *ring) close() error { return unix.Munmap(r.mem) }

// status returns slot i's tp_status.
func (r *ring) status(i int) uint32 { return loadStatus(r.mem, i*r.slotSize) }

// setStatus sets slot i's tp_status, and with that may hand the slot to the kernel.
func (r *ring) setStatus(i int, status uint32) { storeStatus(r.mem, i*r.slotSize, status) }

// release hands slot i of a receive ring back to the kernel.
func (r *ring) release(i int) { r.setStatus(i, unix.TP_STATUS_KERNEL) }

// slot returns slot i's memory.
func (r *ring) slot(i int) slot {
	off := i * r.slotSize
	return slot(r.mem[off : off+r.slotSize : off+r.slotSize])
}

// A slot is the memory of a ring slot that belongs to this process, not to the kernel.
type slot []byte

func (s slot) frameLen() int     { return int(binary.NativeEndian.Uint32(s[slotLen:])) }
func (s slot) setFrameLen(n int) { binary.NativeEndian.PutUint32(s[slotLen:], uint32(n)) }
func (s slot) snaplen() int      { return int(binary.NativeEndian.Uint32(s[slotSnaplen:])) }
func (s slot) mac() int          { return int(binary.NativeEndian.Uint16(s[slotMac:])) }
func (s slot) pktType() uint8    { return s[slotPktType] }
func (s slot) vlanTCI() uint16   { return binary.NativeEndian.Uint16(s[slotVlanTCI:]) }
func (s slot) vlanTPID() uint16  { return binary.NativeEndian.Uint16(s[slotVlanTPID:]) }

// wellFormed reports whether the frame and the room before it lie in the slot. Only a broken kernel
// would get that wrong; but a wrong offset would read other memory, so offsets are checked.
func (s slot) wellFormed() bool {
	mac, n := s.mac(), s.snaplen()
	return mac-slotRoom >= slotGap && mac-vnetHdrLen >= slotGap &&
		n <= s.frameLen() && mac+n <= len(s)
}

// tag returns the VLAN tag that the kernel took out of the frame.
func (s slot) tag(status uint32) (tpid, tci uint16, ok bool) {
	if status&unix.TP_STATUS_VLAN_VALID == 0 {
		return 0, 0, false
	}
	tpid = unix.ETH_P_8021Q
	if status&unix.TP_STATUS_VLAN_TPID_VALID != 0 {
		tpid = s.vlanTPID()
	}
	return tpid, s.vlanTCI(), true
}
