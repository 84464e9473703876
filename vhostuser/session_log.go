package vhostuser

import (
	"fmt"

	"vswitchd/virtqueue"
)

// Logging of writes to guest memory, for live migration.
//
// A log is in use if there is memory for it (SET_LOG_BASE) and LOG_ALL is set, which may change
// while rings run. Writes to a used ring are logged if, in addition, VRING_F_LOG is set in the
// ring's SET_VRING_ADDR, which may change likewise. Queues do the logging; the code here gives them
// the log, while the device is quiesced.
//
// With LOG_ALL but without memory for the log, rings are suspended: when a driver starts during a
// migration, QEMU sends SET_LOG_BASE last, and earlier writes would be missing at the destination.

// logPage is the number of bytes of guest memory that one bit of the log covers (VHOST_LOG_PAGE).
const logPage = 0x1000

// setLogBase is SET_LOG_BASE: "the log memory fd is provided in the ancillary data of SET_LOG_BASE
// message, the size and offset of shared memory area provided in the message."
//
// Back-ends differ in their replies, and QEMU accepts any: DPDK's payload is empty, libvhost-user's
// is a number. Here the reply is the one of REPLY_ACK.
func (s *Session) setLogBase(m *Message) (reply, error) {
	base := decodeLogBase(m.Payload)
	mp, err := s.mapArea(held(s.maps...)+held(s.inflightMap), m.FDs[0], MemRegion{Size: base.Size, MmapOffset: base.Offset})
	if err != nil {
		return reply{}, fmt.Errorf("log: %w", err)
	}
	dirty, err := virtqueue.NewDirtyLog(mp.mem)
	if err == nil {
		err = s.logFits(base.Size, s.state.Regions)
	}
	if err != nil {
		mp.unmap()
		return reply{}, refuse("log: %w", err)
	}
	oldMap, oldFD, fd := s.logMap, s.state.Log.FD, m.TakeFD(0)
	s.update(func(st *State) { st.Log.FD, st.Log.Size, st.Log.Offset = fd, base.Size, base.Offset })
	s.dirty, s.logMap = dirty, mp
	s.setOtherMemory(mp, oldMap) // both, until no queue uses the old one
	s.applyLog()
	s.setOtherMemory(mp)
	oldMap.unmap()
	closeFD(oldFD)
	return replyU64(0), nil
}

// setLogFD is SET_LOG_FD: "an optional message with an eventfd in ancillary data, it may be used to
// inform the front-end that the log has been modified." The eventfd is stored and not used: it
// would have to be signalled for every batch, and no known front-end sends it.
func (s *Session) setLogFD(m *Message) error {
	fd := -1
	if len(m.FDs) > 0 {
		if err := checkEventFD(m.FDs[0]); err != nil {
			return err
		}
		fd = m.TakeFD(0)
	}
	old := s.state.Log.EventFD
	s.update(func(st *State) { st.Log.EventFD = fd })
	closeFD(old)
	return nil
}

// wantsLog reports whether LOG_ALL is negotiated with a front-end that can share a log. (Some
// front-ends acknowledge everything that is offered.)
func (s *Session) wantsLog() bool {
	return s.state.Features&(1<<FeatureLogAll) != 0 && s.negotiated(ProtocolFeatureLogShmFD)
}

// logging reports whether queues log now.
func (s *Session) logging() bool { return s.wantsLog() && s.dirty != nil }

// applyLog makes all rings log according to the current state. When it returns, no queue uses any
// log but s.dirty.
func (s *Session) applyLog() {
	if s.wantsLog() && s.dirty == nil {
		for i, q := range s.queues {
			if q != nil {
				s.log.Info("ring is suspended: there is no log of dirty pages yet", "ring", i)
				s.stopRing(i)
			}
		}
		return
	}
	s.quiesced(func() {
		for i, q := range s.queues {
			if q != nil {
				s.attachLog(i, q)
			}
		}
	})
	s.startSuspended()
}

// attachLog gives the log to a queue, which nothing else may use meanwhile.
func (s *Session) attachLog(i int, q *virtqueue.Queue) {
	if !s.logging() {
		q.SetLog(nil, 0, false)
		return
	}
	v := s.state.Vrings[i]
	q.SetLog(s.dirty, v.Log, v.Flags&VringFlagLog != 0)
}

// logFits verifies that a log of the given size, in bytes, is "large enough to cover all known
// guest addresses", and the used rings.
func (s *Session) logFits(size uint64, regions []Region) error {
	for _, r := range regions {
		if last := r.GuestAddr + r.Size - 1; last/logPage/8 >= size {
			return refuse("%d bytes do not reach the end of the memory region at %#x of size %#x", size, r.GuestAddr, r.Size)
		}
	}
	for i, v := range s.state.Vrings {
		if !v.Started {
			continue
		}
		if err := s.vringLogFits(size, i, v); err != nil {
			return err
		}
	}
	return nil
}

// vringLogFits verifies, for a ring whose used ring is to be logged, that "the bit offset of the
// last byte of the ring" falls "within the size supplied" for the log.
func (s *Session) vringLogFits(size uint64, i int, v Vring) error {
	if v.Flags&VringFlagLog == 0 {
		return nil
	}
	n := uint64(4 + 8*v.Size + 2) // virtio 1.2, section 2.7.8
	if s.state.Features&(1<<virtqueue.FeatureRingPacked) != 0 {
		n = 4 // the device's event suppression structure: section 2.8.10
	}
	if last := v.Log + n - 1; last < v.Log || last/logPage/8 >= size {
		return refuse("%d bytes do not reach the end of the used ring of vring %d at %#x", size, i, v.Log)
	}
	return nil
}
