package uplink

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	vswitch "vswitchd/switch"
)

// This file passes an uplink's sockets, with their rings and what is in them, to another process,
// so that no frame is lost that the kernel has received meanwhile. The names in JSON are those of
// the documents of a hand-over.

// Saved is the state of an uplink.
type Saved struct {
	Socket *SavedSocket `json:"socket,omitempty"` // nil: there is none

	// Status.KernelFrames and KernelDrops.
	Packets uint64 `json:"packets"`
	Drops   uint64 `json:"drops"`
}

// A SavedSocket is what a socket consists of. The file descriptors are those of the uplink.
type SavedSocket struct {
	Receive int `json:"receive"` // file descriptors
	Send    int `json:"send"`
	Long    int `json:"long"`

	Index           int  `json:"index"` // of the interface
	IgnoresOutgoing bool `json:"ignores_outgoing"`

	SlotSize  int `json:"slot_size"` // of both rings, in bytes
	Slots     int `json:"slots"`     // of the receive ring
	Next      int `json:"next"`      // the slot to be looked at next
	LongSlots int `json:"long_slots"`
	LongNext  int `json:"long_next"`

	// Joined are the addresses whose frames the interface receives; nil: all.
	Joined []vswitch.MAC `json:"joined"`
}

// EachFD calls f with the address of each file descriptor.
func (s *Saved) EachFD(f func(fd *int) error) error {
	if s.Socket == nil {
		return nil
	}
	for _, fd := range []*int{&s.Socket.Receive, &s.Socket.Send, &s.Socket.Long} {
		if err := f(fd); err != nil {
			return err
		}
	}
	return nil
}

// Freeze makes the uplink leave its interface and its sockets alone until thaw is called, and
// returns its state. Poll must not be running; Transmit, Caps and all other methods may wait until
// thaw.
func (u *Uplink) Freeze() (s Saved, thaw func()) {
	u.ctlMu.Lock()
	u.sockMu.Lock()
	if u.sock != nil {
		u.addKernelStats(u.sock)
		s.Socket = u.sock.save(u.cfg.Promiscuous)
	}
	s.Packets, s.Drops = u.packets, u.drops
	return s, func() {
		u.sockMu.Unlock()
		u.ctlMu.Unlock()
	}
}

func (s *socket) save(promiscuous bool) *SavedSocket {
	saved := &SavedSocket{
		Receive: s.fd, Send: s.out, Long: s.long.fd, Index: s.index, IgnoresOutgoing: s.ignoresOutgoing,
		SlotSize: s.ring.slotSize, Slots: s.ring.slots, Next: s.rx.next,
		LongSlots: s.long.ring.slots, LongNext: s.long.next,
	}
	if !promiscuous {
		saved.Joined = []vswitch.MAC{}
		for a := range s.joined {
			saved.Joined = append(saved.Joined, a)
		}
	}
	return saved
}

// resumeSocket makes a socket of one that another process has saved, and takes ownership of the
// file descriptors.
func resumeSocket(saved *SavedSocket) (_ *socket, err error) {
	defer func() {
		if err != nil {
			for _, fd := range []int{saved.Receive, saved.Send, saved.Long} {
				unix.Close(fd)
			}
		}
	}()
	ring, err := resumeRing(saved.Receive, saved.Slots, saved.SlotSize)
	if err != nil {
		return nil, fmt.Errorf("receive ring: %w", err)
	}
	long, err := resumeRing(saved.Long, saved.LongSlots, saved.SlotSize)
	if err != nil {
		_ = ring.close()
		return nil, fmt.Errorf("transmit ring: %w", err)
	}
	if saved.Next < 0 || saved.Next >= saved.Slots || saved.LongNext < 0 || saved.LongNext >= saved.LongSlots {
		return nil, errors.Join(errors.New("a position is beyond its ring"), ring.close(), long.close())
	}
	s := &socket{
		fd: saved.Receive, out: saved.Send, index: saved.Index, ring: ring,
		long:            &longSender{fd: saved.Long, ring: long, next: saved.LongNext},
		rx:              &receiver{fd: saved.Receive, ring: ring, next: saved.Next},
		ignoresOutgoing: saved.IgnoresOutgoing,
	}
	if saved.Joined != nil {
		s.joined = make(map[vswitch.MAC]struct{})
		for _, a := range saved.Joined {
			s.joined[a] = struct{}{}
		}
		s.rx.only.Store(newMACSet(saved.Joined))
	}
	return s, nil
}

// resumeRing maps a ring that exists.
func resumeRing(fd, slots, slotSize int) (*ring, error) {
	if slots < 1 || slotSize < minSlotSize || slotSize&(slotSize-1) != 0 || slots > maxRingSize/slotSize {
		return nil, fmt.Errorf("%d slots of %d bytes", slots, slotSize)
	}
	mem, err := unix.Mmap(fd, 0, slots*slotSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("mapping a ring: %w", err)
	}
	return &ring{mem: mem, slotSize: slotSize, slots: slots}, nil
}

// adopt makes the uplink continue with the sockets in Config.Adopt. If the interface is another one
// by now, the sockets are closed, as if this process had seen it go. u is not yet shared.
func (u *Uplink) adopt() error {
	saved := u.cfg.Adopt
	u.cfg.Adopt = nil
	u.packets, u.drops = saved.Packets, saved.Drops
	if saved.Socket == nil {
		return nil
	}
	s, err := resumeSocket(saved.Socket)
	if err != nil {
		return err
	}
	u.addresses = saved.Socket.Joined
	l, err := findLink(u.cfg.Interface, s.index)
	fits := err == nil && l != nil && l.index == s.index && s.bound() && s.ring.slotSize == slotSizeFor(l.mtu) &&
		(s.joined == nil) == u.cfg.Promiscuous
	if fits {
		err = u.cfg.Interfaces.take(l, u)
	}
	if !fits || err != nil {
		return errors.Join(err, s.close())
	}
	s.rx.deliver, s.rx.counters = u.cfg.Deliver, u.cfg.Counters
	u.link, u.sock = l, s
	u.mtu.Store(int64(l.mtu))
	return nil
}
