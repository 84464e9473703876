package netport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	vswitch "vswitchd/switch"
)

// Saved is what the device of a session is, besides what its front-end has sent: what a Port in
// another process needs to go on with the session. The names in JSON are those of the documents of
// a hand-over.
type Saved struct {
	Queues   int    `json:"queues"`   // Config.Queues and Config.MTU, as offered
	MTU      int    `json:"mtu"`      //
	Offloads uint64 `json:"offloads"` // features of AllOffloads, as offered

	DriverMTU int64       `json:"driver_mtu"` // as the front-end has set it; 0: none
	Space     []byte      `json:"space"`      // the configuration space
	FirstMAC  vswitch.MAC `json:"first_mac"`  // its field mac when the session began
	HasMAC    bool        `json:"has_mac"`    // that field is valid

	Control *SavedControl `json:"control,omitempty"` // nil: there is no control queue

	// Counters over the port's life.
	Kicks     uint64 `json:"kicks"`
	Calls     uint64 `json:"calls"`
	HeldTotal uint64 `json:"held_total"`

	// Held says how many frames, and bytes of their records, each receiveq holds.
	Held []SavedHeld `json:"held,omitempty"`
}

// SavedHeld is what a receiveq holds.
type SavedHeld struct {
	Queue  int `json:"queue"` // index of the queue pair
	Frames int `json:"frames"`
	Bytes  int `json:"bytes"`
}

// SavedControl is what a driver has set by the control queue.
type SavedControl struct {
	Known         bool        `json:"known"`
	Commands      uint64      `json:"commands"`
	Refused       uint64      `json:"refused"`
	Pairs         int         `json:"pairs"`
	Offloads      uint64      `json:"offloads"`
	Promisc       int         `json:"promisc"` // a mode
	Modes         []bool      `json:"modes"`
	Unicast       []uint64    `json:"unicast,omitempty"`
	Multicast     []uint64    `json:"multicast,omitempty"`
	MoreUnicast   bool        `json:"more_unicast,omitempty"`
	MoreMulticast bool        `json:"more_multicast,omitempty"`
	VLANs         *[64]uint64 `json:"vlans,omitempty"`
	AddressSet    bool        `json:"address_set,omitempty"`
}

// Save returns the device's state, and the records of the frames that it holds, one receiveq after
// the other. The caller has frozen the session (vhostuser.Session.Freeze), so that the locks of all
// queues are held.
func (p *Port) Save() (s Saved, held []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s = Saved{Queues: p.cfg.Queues, MTU: p.cfg.MTU, Offloads: p.offered, DriverMTU: p.mtu.Load()}
	s.Space, s.FirstMAC, s.HasMAC = p.space.save()
	if c := &p.control; c.active {
		s.Control = c.save()
	}
	for i := range p.rx {
		rx, tx := p.rx[i], p.tx[i]
		s.Kicks += tx.kicks
		s.Calls += rx.calls + tx.calls
		if rx.vq != nil {
			s.Calls += rx.vq.Calls()
		}
		if tx.vq != nil {
			s.Calls += tx.vq.Calls()
		}
		s.HeldTotal += rx.heldTotal
		if rx.holding() {
			before := len(held)
			held = rx.held.save(held)
			s.Held = append(s.Held, SavedHeld{Queue: i, Frames: rx.held.n, Bytes: len(held) - before})
		}
	}
	return s, held
}

// RenewFor is Renew for a session that goes on, with the offer that it began with.
func (p *Port) RenewFor(s *Saved) error {
	if s.Queues < 1 || s.Queues > MaxQueues || s.MTU < 0 || s.MTU > 0xffff || len(s.Space) != configLen {
		return fmt.Errorf("device with %d queue pairs, MTU %d and a configuration space of %d bytes", s.Queues, s.MTU, len(s.Space))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cfg.Queues, p.cfg.MTU = s.Queues, s.MTU
	p.addQueues()
	return nil
}

// Restore makes the device what Save has returned. The session is one that goes on: its features
// are known, and no ring runs.
func (p *Port) Restore(s *Saved, held []byte) error {
	p.offered = s.Offloads & AllOffloads
	p.mtu.Store(s.DriverMTU)
	p.space.restore(s.Space, s.FirstMAC, s.HasMAC)
	p.mu.Lock()
	if s.Control != nil && p.control.active {
		p.control.restore(s.Control)
	}
	p.refilter()
	p.mu.Unlock()
	p.control.index = p.controlIndex(p.features)
	p.applyPairs()
	p.updateCaps()
	p.tx[0].kicks, p.tx[0].calls = s.Kicks, s.Calls
	p.rx[0].heldTotal = s.HeldTotal
	for _, h := range s.Held {
		if h.Queue < 0 || h.Queue >= len(p.rx) || h.Bytes < 0 || h.Bytes > len(held) {
			return errors.New("frames of a receiveq that does not exist, or is shorter")
		}
		if err := p.rx[h.Queue].restore(held[:h.Bytes]); err != nil {
			return err
		}
		held = held[h.Bytes:]
	}
	return nil
}

// Resumed has to be called when the rings of a session that goes on have started.
func (p *Port) Resumed() {
	rx, _ := p.queues()
	for _, q := range rx {
		q.mu.Lock()
		if q.wake == nil {
			q.discardHeld(vswitch.DropDown)
		} else if q.holding() {
			q.callDrain()
		}
		q.mu.Unlock()
	}
}

// save appends the records of all frames.
func (h *heldFrames) save(to []byte) []byte {
	for _, c := range h.chunks {
		to = append(to, c.mem[c.read:c.write]...)
	}
	return to
}

// restore makes the queue hold the frames whose records are given, as far as there is memory.
func (q *rxQueue) restore(records []byte) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(records) > 0 {
		if len(records) < recordHeader {
			return errors.New("a held frame is cut short")
		}
		size := recordHeader + int(binary.NativeEndian.Uint32(records))
		if size <= recordHeader || size > len(records) || size > holdChunkSize {
			return fmt.Errorf("a held frame of %d bytes", size-recordHeader)
		}
		c := q.chunkFor(size)
		if c == nil {
			q.port.counters.Drop(vswitch.DropRingFull, 1)
		} else {
			c.write += copy(c.mem[c.write:], records[:size])
			q.held.n++
		}
		records = records[size:]
	}
	return nil
}

func (c *configSpace) save() (fields []byte, first vswitch.MAC, has bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append(fields, c.fields[:]...), c.first, c.hasMAC
}

func (c *configSpace) restore(fields []byte, first vswitch.MAC, has bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	copy(c.fields[:], fields)
	c.first, c.hasMAC = first, has
}

func (c *control) save() *SavedControl {
	s := &SavedControl{
		Known: c.known, Commands: c.commands, Refused: c.refused,
		Pairs: c.pairs, Offloads: c.offloads, Promisc: int(c.promisc), Modes: slices.Clone(c.modes[:]),
		Unicast: c.unicast, Multicast: c.multicast, MoreUnicast: c.moreUnicast, MoreMulticast: c.moreMulticast,
		AddressSet: c.addressSet,
	}
	if c.vlans != nil {
		v := [64]uint64(*c.vlans)
		s.VLANs = &v
	}
	return s
}

// restore sets what save has returned. The caller holds Port.mu.
func (c *control) restore(s *SavedControl) {
	c.known, c.commands, c.refused = s.Known, s.Commands, s.Refused
	c.settings = settings{
		pairs: s.Pairs, offloads: s.Offloads, promisc: mode(s.Promisc), unicast: s.Unicast, multicast: s.Multicast,
		moreUnicast: s.MoreUnicast, moreMulticast: s.MoreMulticast, addressSet: s.AddressSet,
	}
	copy(c.settings.modes[:], s.Modes)
	if s.VLANs != nil {
		v := vlanSet(*s.VLANs)
		c.settings.vlans = &v
	}
}
