package sessionfuzz

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"vswitchd/vhostuser"
	"vswitchd/vhostuser/vhostusertest"
	"vswitchd/virtqueue/virtqueuetest"
)

// An Op is the first byte of an act (modulo NumOps). The second is its argument.
type Op = byte

// The acts of a front-end.
const (
	Handshake Op = iota // the argument chooses features
	AddMemory           // 1: the second piece; 0x80: another part of it
	RemMemory           // likewise
	MemTable            // bit 0: with the first piece, bit 1: with the second
	Num                 // vring (bits 0-2), size (4-7)
	Base                // vring, base
	Addr                // vring, misalignment (6-7)
	Kick                // vring; 0x80: without an eventfd
	Call                // likewise
	Err                 // vring
	Enable              // vring; 0x40: disable
	Stop                // vring
	Features            // the argument chooses them
	// ring (0-1), number (2-3), 0x10: writable, 0x20: indirect, 0x40: bad, 0x80: only a kick
	Buffers
	AvailIdx   // ring and index at once
	Desc       // ring (0-1), slot (2-5); then 6 bytes of a descriptor
	Scribble   // page (0-3), number of bytes (4-7), then their offset and the bytes
	Truncate   // the second piece of memory; 0x80: a log, 0xc0: the in-flight area
	LogBase    // log (0-1), offset (6-7)
	LogAll     // bit 0: on
	LogRing    // vring, address (3-6); 0x80: off
	Inflight   // queues (0-2), 0x08: ask for memory, offset (4-6), 0x80: with contents
	Channel    // bit 0: a pipe, bit 1: its other end is closed
	Inband     // vring; 0x80: with a number
	Reset      // bit 0: by status
	DeviceMsg  // the argument chooses the message
	AnyMessage // size; then type, and number of descriptors
	WrongFDs   // type (modulo 46), number of descriptors (4-7)
	Half       // of a message, then the end of the stream
	Raw        // bytes
	NumOps
)

// act performs one act. An error means that the connection has ended.
func (a *Actor) act() error {
	op, arg := a.next()%NumOps, a.next()
	switch {
	case op <= MemTable || op == Truncate:
		return a.actMemory(op, arg)
	case op <= Features:
		return a.actVring(op, arg)
	case op <= Scribble:
		return a.actRing(op, arg)
	case op <= LogRing:
		return a.actLog(op, arg)
	case op <= DeviceMsg:
		return a.actDevice(op, arg)
	default:
		return a.actHostile(op, arg)
	}
}

func (a *Actor) actMemory(op Op, arg byte) error {
	mem := a.fe.Memory[arg%2]
	region := mem.Region
	if arg&0x80 != 0 {
		region.Size /= 2
		region.MmapOffset = region.Size
	}
	switch op {
	case Handshake:
		n := int(arg)
		if err := a.send(vhostuser.SetProtocolFeatures, u64(a.cfg.ProtocolFeatures[n%len(a.cfg.ProtocolFeatures)])); err != nil {
			return err
		}
		n /= len(a.cfg.ProtocolFeatures)
		return a.send(vhostuser.SetFeatures, u64(a.cfg.Features[n%len(a.cfg.Features)]))
	case AddMemory:
		return a.send(vhostuser.AddMemReg, vhostuser.AppendSingleRegion(nil, region), mem.FD)
	case RemMemory:
		return a.send(vhostuser.RemMemReg, vhostuser.AppendSingleRegion(nil, region))
	case MemTable:
		var table []vhostuser.MemRegion
		var fds []int
		for i, m := range a.fe.Memory {
			if arg&(1<<i) != 0 {
				table, fds = append(table, m.Region), append(fds, m.FD)
			}
		}
		return a.send(vhostuser.SetMemTable, vhostuser.AppendMemTable(nil, table), fds...)
	}
	// Truncate. The first piece is not truncated: the driver itself uses it, and a fault in
	// this goroutine would end the test. Rings in the second piece are not used any more.
	size := int64(arg&0x3f) << 10 &^ 4095
	switch arg >> 6 {
	case 2:
		return a.logs[arg%4].Truncate(size)
	case 3:
		return unix.Ftruncate(a.area, size)
	}
	a.rings[1], a.rings[3] = a.rings[0], a.rings[2]
	return a.fe.Memory[1].Truncate(size)
}

func (a *Actor) actVring(op Op, arg byte) error {
	index := uint32(arg % 5) // most back-ends here have 4
	cfg := a.rings[arg%5%numRings].Driver.Config()
	file := vhostuser.VringFile{Index: uint8(index), NoFD: arg&0x80 != 0}.AppendTo(nil)
	withFD := func(r vhostuser.Request, fd int) error {
		if arg&0x80 != 0 {
			return a.send(r, file)
		}
		return a.send(r, file, fd)
	}
	ring := a.rings[index%numRings]
	switch op {
	case Num:
		return a.send(vhostuser.SetVringNum, state(index, []uint32{ringSize, ringSize, 2 * ringSize, 0, 7, 1 << 20}[arg>>4%6]))
	case Base:
		return a.send(vhostuser.SetVringBase, state(index, []uint32{0, 1, 0x8000, 0x80008000, 5, 1 << 20, 0xffff, 0x80018001}[arg>>4%8]))
	case Addr:
		addr := vhostusertest.RingAddr(int(index), cfg)
		addr.Desc += uint64(arg>>6) * 8
		return a.send(vhostuser.SetVringAddr, addr.AppendTo(nil))
	case Kick:
		return withFD(vhostuser.SetVringKick, ring.KickFD)
	case Call:
		return withFD(vhostuser.SetVringCall, ring.CallFD)
	case Err:
		return withFD(vhostuser.SetVringErr, ring.CallFD)
	case Enable:
		return a.send(vhostuser.SetVringEnable, state(index, uint32(arg>>6&1^1)))
	case Stop:
		return a.send(vhostuser.GetVringBase, state(index, 0))
	}
	return a.send(vhostuser.SetFeatures, u64(append(a.cfg.Features, 0, 1<<63)[int(arg)%(len(a.cfg.Features)+2)]))
}

// actRing adds buffers to a ring, or writes something invalid to it.
func (a *Actor) actRing(op Op, arg byte) error {
	ring := a.rings[arg%4]
	drv, mem := ring.Driver, a.fe.Memory[0]
	switch op {
	case Buffers:
		if arg&0x80 != 0 {
			return ring.Kick()
		}
		var bufs []virtqueuetest.Buf
		for i := range 1 + arg>>2&3 {
			bufs = append(bufs, virtqueuetest.Buf{Addr: mem.Region.GuestAddr + buffers + uint64(i)*bufferLen, Len: bufferLen})
		}
		if arg&0x40 != 0 {
			bufs[len(bufs)-1].Addr += 1 << 40
		}
		add := drv.AddChain
		if arg&0x20 != 0 {
			add = drv.AddIndirect
		}
		if arg&0x10 != 0 {
			_, _ = add(nil, bufs)
		} else {
			_, _ = add(bufs, nil)
		}
		drv.Publish()
		return ring.Kick()
	case AvailIdx:
		drv.SetAvailIdx(uint16(arg) << 8)
		return ring.Kick()
	case Desc:
		a.writeDesc(ring, int(arg>>2&15))
		return ring.Kick()
	}
	b := a.take(1 + int(arg>>4))
	if len(b) < 2 {
		return nil
	}
	copy(mem.Bytes[4096*int(arg%4)+16*int(b[0]):], b[1:])
	return nil
}

// writeDesc writes a descriptor that the input determines, whatever is in the slot.
func (a *Actor) writeDesc(ring *vhostusertest.Ring, slot int) {
	if ring.Index%2 != 0 {
		return // may be truncated
	}
	mem := a.fe.Memory[0]
	b := append(a.take(6), make([]byte, 6)...)
	d := mem.Bytes[ring.Driver.Config().Desc-mem.Region.UserAddr+16*uint64(slot):]
	addr := mem.Region.GuestAddr + uint64(b[0])<<9 + uint64(b[1]&1)<<36
	binary.LittleEndian.PutUint64(d, addr)
	binary.LittleEndian.PutUint32(d[8:], uint32(b[2])<<(b[1]>>1&15))
	binary.LittleEndian.PutUint16(d[12:], uint16(b[3]))
	// Flags of a packed ring, NEXT of a split one; the input can set AVAIL and USED.
	binary.LittleEndian.PutUint16(d[14:], uint16(b[4])|uint16(b[5])<<8)
}

func (a *Actor) actLog(op Op, arg byte) error {
	switch op {
	case LogBase:
		l := a.logs[arg%4]
		base := l.Base()
		base.Offset = uint64(arg>>6) << 10
		return a.send(vhostuser.SetLogBase, base.AppendTo(nil), l.FD())
	case LogAll:
		return a.send(vhostuser.SetFeatures, u64(a.cfg.Features[0]|uint64(arg%2)<<vhostuser.FeatureLogAll))
	}
	index := int(arg) % 5
	addr := vhostusertest.RingAddr(index, a.rings[index%numRings].Driver.Config())
	addr.Log = a.fe.GuestAddr(addr.Used) + uint64(arg>>3&7)<<40
	addr.Flags = uint32(arg>>7) ^ 1
	return a.send(vhostuser.SetVringAddr, addr.AppendTo(nil))
}

func (a *Actor) actDevice(op Op, arg byte) error {
	index := uint32(arg % 5)
	switch op {
	case Inflight:
		in := vhostuser.Inflight{Size: 1 << 15, Offset: uint64(arg>>4&7) << 10, NumQueues: uint16(index), QueueSize: ringSize}
		if arg&8 != 0 {
			return a.send(vhostuser.GetInflightFD, in.AppendTo(nil))
		}
		if arg&0x80 != 0 { // a previous back-end may have left anything
			_, _ = unix.Pwrite(a.area, a.take(64), int64(in.Offset))
		}
		return a.send(vhostuser.SetInflightFD, in.AppendTo(nil), a.area)
	case Channel:
		if arg&1 != 0 {
			return a.send(vhostuser.SetBackendReqFD, nil, a.pipe[0])
		}
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(pair[0])
		if arg&2 != 0 {
			_ = unix.Close(pair[1])
		} else {
			defer unix.Close(pair[1])
		}
		return a.send(vhostuser.SetBackendReqFD, nil, pair[0])
	case Inband:
		return a.send(vhostuser.VringKick, state(index, uint32(arg>>7)))
	case Reset:
		if arg%2 == 0 {
			return a.send(vhostuser.ResetDevice, nil)
		}
		return a.send(vhostuser.SetStatus, u64(0))
	}
	c := vhostuser.ConfigAccess{Offset: uint32(arg >> 3), Size: 4, Flags: uint32(arg >> 7), Data: make([]byte, 4)}
	switch arg % 6 {
	case 0:
		return a.send(vhostuser.GetConfig, c.AppendTo(nil))
	case 1:
		return a.send(vhostuser.SetConfig, c.AppendTo(nil))
	case 2:
		return a.send(vhostuser.SetStatus, u64(uint64(arg)))
	case 3:
		return a.send(vhostuser.GetStatus, nil)
	case 4:
		return a.send(vhostuser.NetSetMTU, u64(uint64(arg)<<8))
	default:
		return a.send(vhostuser.SendRARP, u64(uint64(arg)))
	}
}

func (a *Actor) actHostile(op Op, arg byte) error {
	switch op {
	case AnyMessage:
		return a.send(vhostuser.Request(a.next()), make([]byte, int(arg)), a.fds(a.next())...)
	case WrongFDs:
		return a.send(vhostuser.Request(arg%46), make([]byte, 8), a.fds(arg>>4)...)
	case Half:
		b := append(state(uint32(arg), 1), 8, 0, 0, 0)
		if err := a.fe.Write(b); err != nil {
			return err
		}
		return a.fe.CloseWrite()
	}
	return a.fe.Write(a.take(int(arg)))
}
