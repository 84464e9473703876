package vhostuser

import (
	"fmt"
	"math"

	"golang.org/x/sys/unix"

	"vswitchd/virtqueue"
)

// Memory for descriptors in flight. "To support reconnecting after restart or crash, back-end may
// need to resubmit inflight I/Os": the chains that a queue has popped and not yet used are recorded
// in memory that the front-end keeps. The front-end asks for the memory once, and passes it to
// every back-end from then on, before rings start. Package virtqueue defines its contents.

// inflightSize returns the size of each queue's part of the memory, in bytes.
func (s *Session) inflightSize(a Inflight) uint64 {
	return uint64(virtqueue.InflightSize(int(a.QueueSize), s.packed()))
}

// checkInflight verifies the queues of an area and returns the size that the area must have, in
// bytes.
func (s *Session) checkInflight(a Inflight) (size uint64, err error) {
	if a.NumQueues < 1 || int(a.NumQueues) > len(s.state.Vrings) {
		return 0, refuse("descriptors in flight of %d vrings, there are %d", a.NumQueues, len(s.state.Vrings))
	}
	if a.QueueSize < 1 || int(a.QueueSize) > virtqueue.MaxSize {
		return 0, refuse("descriptors in flight of vrings of size %d", a.QueueSize)
	}
	return uint64(a.NumQueues) * s.inflightSize(a), nil
}

// getInflightFD is GET_INFLIGHT_FD: "submitted by the front-end to get a shared buffer from
// back-end". The front-end returns the buffer by SET_INFLIGHT_FD.
func (s *Session) getInflightFD(m *Message) (reply, error) {
	a := DecodeInflight(m.Payload)
	size, err := s.checkInflight(a)
	if err != nil {
		return reply{}, err
	}
	fd, err := unix.MemfdCreate("vhost-user in flight", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return reply{}, fmt.Errorf("memory for descriptors in flight: %w", nameFileLimit(err))
	}
	err = unix.Ftruncate(fd, int64(size))
	if err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL)
	}
	if err != nil {
		closeFD(fd)
		return reply{}, fmt.Errorf("memory for descriptors in flight: %w", err)
	}
	a.Size, a.Offset = size, 0
	// The reply is as long as the request: some front-ends pad the structure.
	payload := append(a.AppendTo(nil), make([]byte, len(m.Payload)-inflightSize)...)
	return reply{payload: payload, fds: []int{fd}}, nil
}

// setInflightFD is SET_INFLIGHT_FD: "submitted by the front-end to send the shared inflight buffer
// back to the back-end so that the back-end could get inflight I/O after a crash or restart". Rings
// use it when they start.
func (s *Session) setInflightFD(m *Message) error {
	a := DecodeInflight(m.Payload)
	size, err := s.checkInflight(a)
	if err != nil {
		return err
	}
	if a.Size < size {
		return refuse("%d bytes for descriptors in flight of %d vrings of size %d, want %d", a.Size, a.NumQueues, a.QueueSize, size)
	}
	if a.Offset > math.MaxInt64 || a.Offset%8 != 0 {
		return refuse("memory for descriptors in flight at offset %#x", a.Offset)
	}
	if i := s.inUse(); i >= 0 {
		return refuse("memory for descriptors in flight while vring %d is in use", i)
	}
	mp, err := s.mapArea(held(s.maps...)+held(s.logMap), m.FDs[0], MemRegion{Size: a.Size, MmapOffset: a.Offset})
	if err != nil {
		return fmt.Errorf("memory for descriptors in flight: %w", err)
	}
	s.endDisabled()
	s.dropInflight()
	fd := m.TakeFD(0)
	s.inflightMap = mp
	s.setOtherMemory(s.logMap)
	s.update(func(st *State) { st.Inflight = InflightArea{Inflight: a, FD: fd} })
	return nil
}

// dropInflight releases the memory for descriptors in flight. No ring may be running.
func (s *Session) dropInflight() {
	mp, fd := s.inflightMap, s.state.Inflight.FD
	s.inflightMap = mapping{}
	s.setOtherMemory(s.logMap)
	s.update(func(st *State) { st.Inflight = InflightArea{FD: -1} })
	mp.unmap()
	closeFD(fd)
}

// inflightOf returns vring i's part of the memory for descriptors in flight, or nil.
func (s *Session) inflightOf(i int) []byte {
	a := s.state.Inflight
	if a.FD < 0 || i >= int(a.NumQueues) {
		return nil
	}
	n := s.inflightSize(a.Inflight)
	// The format of rings may have changed since the area was checked.
	if end := n * uint64(i+1); end <= uint64(len(s.inflightMap.mem)) {
		return s.inflightMap.mem[end-n : end : end]
	}
	return nil
}
