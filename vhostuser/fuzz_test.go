package vhostuser_test

import (
	"context"
	"testing"

	"golang.org/x/sys/unix"

	"vswitchd/vhostuser"
	"vswitchd/vhostuser/vhostusertest"
	"vswitchd/virtqueue/virtqueuetest"
)

// FuzzSession runs a session with a front-end whose every act is an input byte
// or two: well-formed messages in any order, with few distinct arguments so that
// they often fit together, damaged ones, other file descriptors than belong
// there, and raw bytes. Whatever it does, the session must end when the connection
// does, and nothing of it may be left.
func FuzzSession(f *testing.F) {
	ordinary := []byte{opHandshake, 3, opAddMemory, 0, opNum, 0, opAddr, 0, opCall, 0, opKick, 0, opEnable, 0, opBuffer, 0, opBuffer, 0}
	f.Add(ordinary)
	f.Add(append(ordinary, opStop, 0, opKick, 0, opRemMemory, 0, opAddMemory, 1, opTable, 3))
	f.Add(append(ordinary, opTable, 0, opTable, 1, opTable, 2, opTable, 3, opNum, 1, opAddr, 1, opKick, 1))
	f.Add(append(ordinary, opTruncate, 0, opBuffer, 0))
	f.Add(append(ordinary, opAvail, 200, opBuffer, 0))
	f.Add([]byte{opHandshake, 0, opTable, 1, opNum, 0, opAddr, 0, opKick, 0, opBuffer, 0, opFeatures, 5})
	f.Add([]byte{opHandshake, 3, opAnyMessage, 0, 40, 8, opAnyMessage, 200, 45, 1, opHalf, 2})
	f.Add([]byte{opHandshake, 1, opWrongFDs, 0x85, opWrongFDs, 0x3c, opRaw, 12, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{opRaw, 12, 2, 0, 0, 0, 1, 0, 0, 0, 255, 255, 255, 255})

	f.Fuzz(func(t *testing.T, acts []byte) {
		if len(acts) > 400 {
			return
		}
		h := serve(t, newDevice(4))
		a := &actor{t: t, fe: h.fe, acts: acts}
		defer a.close()
		a.setUp()
		// Nobody waits for replies, so somebody has to take them.
		ctx, cancel := context.WithCancel(context.Background())
		drained := make(chan struct{})
		go func() {
			defer close(drained)
			for ctx.Err() == nil {
				m, err := h.fe.Recv()
				if err != nil {
					return
				}
				m.Close()
			}
		}()
		for len(a.acts) > 0 && a.act() == nil {
		}
		_ = h.fe.CloseWrite()
		_ = h.wait()
		cancel()
		<-drained
	})
}

const (
	opHandshake = iota
	opAddMemory
	opRemMemory
	opTable
	opNum
	opBase
	opAddr
	opKick
	opCall
	opErr
	opEnable
	opStop
	opFeatures
	opBuffer
	opAvail
	opTruncate
	opAnyMessage
	opWrongFDs
	opHalf
	opRaw
	numOps
)

// actor is a front-end that is led by fuzz input.
type actor struct {
	t     *testing.T
	fe    *vhostusertest.FrontEnd
	acts  []byte
	rings []*vhostusertest.Ring
	pipe  [2]int
}

func (a *actor) setUp() {
	check := func(err error) {
		if err != nil {
			a.t.Fatal(err)
		}
	}
	check(unix.Pipe2(a.pipe[:], unix.O_CLOEXEC))
	for range 2 {
		_, err := a.fe.NewMemory(128 << 10)
		check(err)
	}
	for i, mem := range a.fe.Memory {
		r, err := a.fe.NewRing(mem, i, 16, 4096)
		check(err)
		a.rings = append(a.rings, r)
	}
}

func (a *actor) close() {
	_ = unix.Close(a.pipe[0])
	_ = unix.Close(a.pipe[1])
}

func (a *actor) next() byte {
	if len(a.acts) == 0 {
		return 0
	}
	b := a.acts[0]
	a.acts = a.acts[1:]
	return b
}

// act does one thing. An error means that the connection is over.
func (a *actor) act() error {
	op, arg := a.next()%numOps, a.next()
	ring := a.rings[arg%2]
	mem := a.fe.Memory[arg%2]
	index := uint32(arg % 5) // there are 4
	cfg := ring.Driver.Config()
	region := mem.Region
	if arg&0x80 != 0 {
		region.Size /= 2
		region.MmapOffset = region.Size
	}
	send := func(r vhostuser.Request, payload []byte, fds ...int) error {
		return a.fe.Send(r, vhostuser.FlagNeedReply, payload, fds...)
	}
	switch op {
	case opHandshake:
		if err := send(vhostuser.SetProtocolFeatures, u64([]uint64{0, replyAck, memSlots, allProto}[arg%4])); err != nil {
			return err
		}
		return send(vhostuser.SetFeatures, u64(allVirtio))
	case opAddMemory:
		return send(vhostuser.AddMemReg, vhostuser.AppendSingleRegion(nil, region), mem.FD)
	case opRemMemory:
		return send(vhostuser.RemMemReg, vhostuser.AppendSingleRegion(nil, region))
	case opTable:
		var table []vhostuser.MemRegion
		var fds []int
		for i, m := range a.fe.Memory {
			if arg&(1<<i) != 0 {
				table, fds = append(table, m.Region), append(fds, m.FD)
			}
		}
		return send(vhostuser.SetMemTable, vhostuser.AppendMemTable(nil, table), fds...)
	case opNum:
		return send(vhostuser.SetVringNum, state(index, []uint32{16, 16, 32, 0, 7, 1 << 20}[arg>>4%6]))
	case opBase:
		return send(vhostuser.SetVringBase, state(index, uint32(arg>>4)))
	case opAddr:
		addr := vhostusertest.RingAddr(int(index), cfg)
		addr.Desc += uint64(arg>>6) * 8
		return send(vhostuser.SetVringAddr, addr.AppendTo(nil))
	case opKick:
		return send(vhostuser.SetVringKick, file(uint8(index)), ring.KickFD)
	case opCall:
		return send(vhostuser.SetVringCall, file(uint8(index)), ring.CallFD)
	case opErr:
		return send(vhostuser.SetVringErr, noFile(uint8(index)))
	case opEnable:
		return send(vhostuser.SetVringEnable, state(index, uint32(arg>>6&1^1)))
	case opStop:
		return send(vhostuser.GetVringBase, state(index, 0))
	case opFeatures:
		return send(vhostuser.SetFeatures, u64([]uint64{0, version1, allVirtio, 1 << 63}[arg%4]))
	case opBuffer:
		if arg < 0x40 && ring.Driver.Free() > 0 {
			_, _ = ring.Driver.AddChain(nil, []virtqueuetest.Buf{{Addr: vhostusertest.FirstGuestAddr + 64<<10, Len: 100}})
			ring.Driver.Publish()
		}
		return ring.Kick()
	case opAvail:
		ring.Driver.SetAvailIdx(uint16(arg) << 8)
		return ring.Kick()
	case opTruncate:
		// Only the second memory: the driver itself uses both, and a fault in
		// this goroutine would be the test's end. Its ring is given up.
		a.rings[1] = a.rings[0]
		return a.fe.Memory[1].Truncate(int64(arg) << 9 &^ 4095)
	case opAnyMessage:
		return send(vhostuser.Request(a.next()), make([]byte, int(arg)), a.fds(a.next())...)
	case opWrongFDs:
		return send(vhostuser.Request(arg%40), make([]byte, 8), a.fds(arg>>4)...)
	case opHalf:
		if err := a.fe.Write(header(uint32(arg), 1, 8)); err != nil {
			return err
		}
		return a.fe.CloseWrite()
	default:
		n := min(int(arg), len(a.acts))
		raw := a.acts[:n]
		a.acts = a.acts[n:]
		return a.fe.Write(raw)
	}
}

// fds returns up to 15 file descriptors of several kinds.
func (a *actor) fds(n byte) []int {
	kinds := []int{a.pipe[0], a.rings[0].KickFD, a.fe.Memory[0].FD, a.pipe[1]}
	var fds []int
	for i := range int(n % 16) {
		fds = append(fds, kinds[i%len(kinds)])
	}
	return fds
}
