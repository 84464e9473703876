package uplink

import (
	"encoding/binary"
	"sync/atomic"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	vswitch "vswitchd/switch"
)

// ring3 reads a TPACKET_V3 ring. It is here to be measured against the V2 ring that the uplink has;
// see BenchmarkRoundTrip and BenchmarkRing.
type ring3 struct {
	fd        int
	mem       []byte
	blockSize int
	blocks    int
	next      int
	rx        receiver
}

const (
	v3BlockSize = 256 << 10 // several frames of 64 KiB
	v3Retire    = 1         // ms, the shortest that there is
)

func newRing3(t testing.TB, index int) *ring3 {
	t.Helper()
	fd, err := listen(socketConfig{index: index})
	if err != nil {
		t.Fatal(err)
	}
	r := &ring3{fd: fd, blockSize: v3BlockSize, blocks: DefaultRingSize / v3BlockSize}
	for opt, v := range map[int]int{
		unix.PACKET_VERSION: unix.TPACKET_V3, unix.PACKET_VNET_HDR: 1, unix.PACKET_IGNORE_OUTGOING: 1, unix.PACKET_RESERVE: slotReserve,
	} {
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, opt, v); err != nil {
			t.Fatal(err)
		}
	}
	req := unix.TpacketReq3{
		Block_size: uint32(r.blockSize), Block_nr: uint32(r.blocks),
		Frame_size: minSlotSize, Frame_nr: uint32(r.blocks * r.blockSize / minSlotSize),
		Retire_blk_tov: v3Retire,
	}
	if err := unix.SetsockoptTpacketReq3(fd, unix.SOL_PACKET, unix.PACKET_RX_RING, &req); err != nil {
		t.Fatal(err)
	}
	if r.mem, err = unix.Mmap(fd, 0, r.blocks*r.blockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		t.Fatal(err)
	}
	all := binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL)
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: binary.NativeEndian.Uint16(all), Ifindex: index}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Munmap(r.mem); unix.Close(fd) })
	return r
}

// status is the block's: it is a u32 at offset 8, in bounds and aligned because a block has
// v3BlockSize bytes.
func (r *ring3) status(block []byte) *uint32 {
	return (*uint32)(unsafe.Pointer(&block[8]))
}

// poll delivers the frames of all blocks that are ours.
func (r *ring3) poll(deliver func([]vswitch.Frame)) (frames int) {
	for {
		block := r.mem[r.next*r.blockSize : (r.next+1)*r.blockSize]
		if atomic.LoadUint32(r.status(block))&unix.TP_STATUS_USER == 0 {
			return frames
		}
		n := int(binary.NativeEndian.Uint32(block[12:]))
		off := int(binary.NativeEndian.Uint32(block[16:]))
		batch := 0
		for range n {
			p := block[off:]
			mac, length := int(binary.NativeEndian.Uint16(p[24:])), int(binary.NativeEndian.Uint32(p[12:]))
			if r.rx.build(batch, p, mac, length, decodeVnetHdr(p[mac-vnetHdrLen:])) {
				batch++
			}
			if batch == vswitch.MaxBatch {
				deliver(r.rx.frames[:batch])
				batch = 0
			}
			off += int(binary.NativeEndian.Uint32(p))
		}
		if batch > 0 {
			deliver(r.rx.frames[:batch])
		}
		frames += n
		atomic.StoreUint32(r.status(block), unix.TP_STATUS_KERNEL)
		r.next = (r.next + 1) % r.blocks
	}
}
