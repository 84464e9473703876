package sessionfuzz

import (
	"fmt"

	"golang.org/x/sys/unix"

	"vswitchd/vhostuser"
	"vswitchd/vhostuser/vhostusertest"
)

// Config lists the features that an Actor negotiates: an input chooses one value of each list. Both
// lists need at least one value.
type Config struct {
	Features         []uint64
	ProtocolFeatures []uint64
}

// An Actor is a front-end that acts according to an input.
type Actor struct {
	cfg   Config
	fe    *vhostusertest.FrontEnd
	acts  []byte
	rings []*vhostusertest.Ring
	logs  []*vhostusertest.Log // the last one is too small for the memory
	area  int                  // a file for descriptors in flight
	pipe  [2]int

	drained chan struct{} // closed when replies are not received any more
}

const (
	ringSize = 16
	numRings = 4
	memSize  = 128 << 10

	// Buffers are in the first piece of memory, which is never truncated.
	buffers   = 64 << 10 // offset
	bufferLen = 2048
)

// New makes an actor of a front-end that has just connected. It makes two pieces of memory, with
// two rings in each.
func New(fe *vhostusertest.FrontEnd, acts []byte, cfg Config) (*Actor, error) {
	a := &Actor{cfg: cfg, fe: fe, acts: acts, area: -1, pipe: [2]int{-1, -1}, drained: make(chan struct{})}
	if err := a.setUp(); err != nil {
		close(a.drained)
		a.Close()
		return nil, fmt.Errorf("setting a front-end up: %w", err)
	}
	go a.drain()
	return a, nil
}

func (a *Actor) setUp() error {
	if err := unix.Pipe2(a.pipe[:], unix.O_CLOEXEC); err != nil {
		return err
	}
	for range 2 {
		if _, err := a.fe.NewMemory(memSize); err != nil {
			return err
		}
	}
	for i := range numRings {
		r, err := a.fe.NewRing(a.fe.Memory[i%2], i, ringSize, 4096)
		if err != nil {
			return err
		}
		a.rings = append(a.rings, r)
	}
	end := a.fe.Memory[1].Region.GuestAddr + memSize
	for _, below := range []uint64{end, end, end, end / 2} {
		l, err := vhostusertest.NewLog(below)
		if err != nil {
			return err
		}
		a.logs = append(a.logs, l)
	}
	fd, err := unix.MemfdCreate("in flight", unix.MFD_CLOEXEC)
	if err != nil {
		return err
	}
	a.area = fd
	return unix.Ftruncate(fd, 1<<16)
}

// drain receives replies, which nothing else does, so that the back-end does not wait.
func (a *Actor) drain() {
	defer close(a.drained)
	for {
		m, err := a.fe.Recv()
		if err != nil {
			return
		}
		m.Close()
	}
}

// Run acts according to the input, until its end or that of the connection.
func (a *Actor) Run() {
	for len(a.acts) > 0 && a.act() == nil {
	}
}

// Close closes the front-end and everything that the actor holds.
func (a *Actor) Close() {
	_ = a.fe.CloseWrite()
	a.fe.Close()
	<-a.drained
	for _, l := range a.logs {
		l.Close()
	}
	for _, fd := range []int{a.area, a.pipe[0], a.pipe[1]} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// next takes a byte of the input.
func (a *Actor) next() byte {
	if len(a.acts) == 0 {
		return 0
	}
	b := a.acts[0]
	a.acts = a.acts[1:]
	return b
}

// take takes up to n bytes of the input.
func (a *Actor) take(n int) []byte {
	n = min(n, len(a.acts))
	b := a.acts[:n]
	a.acts = a.acts[n:]
	return b
}

// send sends a message that asks for a reply.
func (a *Actor) send(r vhostuser.Request, payload []byte, fds ...int) error {
	return a.fe.Send(r, vhostuser.FlagNeedReply, payload, fds...)
}

// fds returns up to 15 file descriptors of several kinds.
func (a *Actor) fds(n byte) []int {
	kinds := []int{a.pipe[0], a.rings[0].KickFD, a.fe.Memory[0].FD, a.pipe[1]}
	var fds []int
	for i := range int(n % 16) {
		fds = append(fds, kinds[i%len(kinds)])
	}
	return fds
}

func u64(v uint64) []byte { return vhostuser.AppendU64(nil, v) }

func state(index, num uint32) []byte {
	return vhostuser.VringState{Index: index, Num: num}.AppendTo(nil)
}
