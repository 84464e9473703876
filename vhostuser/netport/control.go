package netport

import (
	"encoding/binary"
	"slices"
	"time"

	vswitch "vswitchd/switch"
	"vswitchd/vhostuser"
	"vswitchd/vhostuser/loop"
	"vswitchd/virtqueue"
)

// The control queue (virtio 1.2, section 5.1.6.5) is served if the front-end acknowledges CTRL_VQ:
// User Mode Linux, crosvm and others that leave the device to the back-end do. QEMU and DPDK's
// virtio-user implement the control queue themselves and do not acknowledge it.
//
// A goroutine of package loop serves the queue, which costs the data plane nothing: the effect of a
// driver's commands is computed when they change something, and stored in Port.receivers, Port.caps
// and Port.filter.

// Features of the control queue, which are offered together.
const controlFeatures = 1<<featureCtrlVQ | 1<<featureCtrlRX | 1<<featureCtrlVLAN | 1<<featureCtrlRXExtra |
	1<<featureCtrlMACAddr | 1<<featureCtrlGuestOffloads

// guestOffloads are the features that a driver may turn off and on again at run time.
const guestOffloads = 1<<featureGuestCsum | gsoFeatures | 1<<featureGuestECN

// maxVrings is the number of virtqueues that a front-end can address: an index has 8 bits
// in some messages.
const maxVrings = 256

// A control is the control queue of a port, and the result of its driver's commands.
type control struct {
	queue *loop.Device // one of its rings is the control queue's
	index int          // of that ring; -1: none. Used only by the session's goroutine.

	// The rest is guarded by Port.mu.
	active   bool // CTRL_VQ is acknowledged
	known    bool // the settings are the driver's; if not, another back-end may have served it
	commands uint64
	refused  uint64
	settings
}

// settings are the results of a driver's commands, or the defaults.
type settings struct {
	pairs    int    // queue pairs that the driver receives on; 0: all that are enabled
	offloads uint64 // the subset of guestOffloads that is on

	promisc mode // unset: frames to any address are received
	modes   [rxModes]bool

	unicast, multicast         []uint64 // sorted
	moreUnicast, moreMulticast bool     // there were too many addresses to store
	vlans                      *vlanSet // nil: no command has set VLANs
	addressSet                 bool     // MAC_ADDR_SET has set the field mac
}

// A mode is a setting that a driver may not have set.
type mode int

const (
	unset mode = iota
	off
	on
)

func newControlQueue(p *Port) *loop.Device {
	return loop.New(loop.Config{Vrings: maxVrings, Handle: p.command, DiscardDisabled: true})
}

// maxPairs returns the number of queue pairs in the configuration space. With 128 of them the index
// of the control queue would exceed the range.
func maxPairs(queues int) int { return min(queues, (maxVrings-1)/2) }

// resetControl resets the settings, because the driver has ended. features are those that are
// negotiated.
func (p *Port) resetControl(features uint64) {
	p.mu.Lock()
	c := &p.control
	c.active = features&(1<<featureCtrlVQ) != 0
	c.known = false
	c.settings = settings{offloads: features & guestOffloads}
	if c.active && features&(1<<featureMQ) != 0 {
		c.pairs = 1 // the default until a command changes it
	}
	p.refilter()
	p.mu.Unlock()
	p.applyPairs()
}

// applyPairs makes frames go to as many receiveqs as the driver has set. When it returns, no frames
// go to other receiveqs.
func (p *Port) applyPairs() {
	p.mu.Lock()
	pairs := p.control.pairs
	p.mu.Unlock()
	rx, _ := p.queues()
	for i, q := range rx {
		q.mu.Lock()
		if q.spare = pairs != 0 && i >= pairs; q.spare {
			q.filled = false
			q.discardHeld(vswitch.DropDown)
		}
		q.mu.Unlock()
	}
	p.ringsChanged()
}

// controlIndex returns the index of the control queue, which follows those of the queue pairs that
// the driver knows of (5.1.2). -1: there is none.
func (p *Port) controlIndex(features uint64) int {
	switch {
	case features&(1<<featureCtrlVQ) == 0:
		return -1
	case features&(1<<featureMQ) == 0:
		return 2
	}
	return 2 * max(p.space.pairs(), 1)
}

// startControl starts the control queue. An unused ring belongs to a new driver. If a ring was
// used, but the settings are not known, its driver was served by another back-end before: until the
// driver sends more commands, it gets only frames that any driver can take.
func (p *Port) startControl(r vhostuser.Ring) error {
	unused, err := r.Queue.Unused()
	if err != nil {
		return err
	}
	if unused {
		p.resetControl(p.features)
	}
	p.mu.Lock()
	if !unused && !p.control.known {
		p.control.offloads = 0
	}
	p.control.known = true
	p.mu.Unlock()
	p.updateCaps()
	return p.control.queue.RingStarted(r)
}

// DriverEnded implements vhostuser.DriverEnder.
func (p *Port) DriverEnded() {
	p.resetControl(p.features)
	p.updateCaps()
}

// Classes and commands (5.1.6.5), and results of commands.
const (
	classRX            = 0
	classMAC           = 1
	classVLAN          = 2
	classMQ            = 4
	classGuestOffloads = 5

	macTableSet = 0
	macAddrSet  = 1
	vlanAdd     = 0
	vlanDel     = 1
	mqPairsSet  = 0
	offloadsSet = 0

	ackOK  = 0
	ackErr = 1
)

// Commands of class RX.
const (
	rxPromisc = iota
	rxAllMulti
	rxAllUni
	rxNoMulti
	rxNoUni
	rxNoBcast
	rxModes
)

// command processes a request of the control queue, on the queue's goroutine.
func (p *Port) command(req *loop.Request) error {
	if wait := p.pace.take(time.Now()); wait > 0 {
		time.Sleep(wait) // delays this port's session, too, but nothing else
	}
	ack := []byte{ackErr}
	var header [2]byte
	n, _ := req.Read(header[:])
	if n == len(header) && p.execute(req, header[0], header[1]) {
		ack[0] = ackOK
	}
	p.mu.Lock()
	p.control.commands++
	if ack[0] != ackOK {
		p.control.refused++
	}
	p.mu.Unlock()
	_, _ = req.Write(ack) // without room, nothing is written
	return nil
}

// execute executes a command, and reports whether that succeeded. Otherwise it has changed nothing.
func (p *Port) execute(req *loop.Request, class, command byte) bool {
	needs := map[byte]int{
		classRX: featureCtrlRX, classMAC: featureCtrlRX, classVLAN: featureCtrlVLAN, classMQ: featureMQ,
		classGuestOffloads: featureCtrlGuestOffloads,
	}
	feature, is := needs[class]
	switch {
	case class == classRX && command >= rxAllUni:
		feature = featureCtrlRXExtra
	case class == classMAC && command == macAddrSet:
		feature = featureCtrlMACAddr
	}
	if !is || req.Features&(1<<feature) == 0 {
		return false
	}
	switch class {
	case classRX:
		return p.setRXMode(req, command)
	case classMAC:
		if command == macAddrSet {
			return p.setAddress(req)
		}
		return command == macTableSet && p.setTables(req)
	case classVLAN:
		return p.setVLAN(req, command)
	case classMQ:
		return command == mqPairsSet && p.setPairs(req)
	default:
		return command == offloadsSet && p.setGuestOffloads(req)
	}
}

// read fills b from the request, and reports whether the request was long enough.
func read(req *loop.Request, b []byte) bool {
	for len(b) > 0 {
		n, err := req.Read(b)
		b = b[n:]
		if err != nil && len(b) > 0 {
			return false
		}
	}
	return true
}

// change changes the settings, and recomputes the filter.
func (p *Port) change(f func(c *settings)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(&p.control.settings)
	p.refilter()
}

// setRXMode executes a command of class RX (5.1.6.5.1): "1 ... on, 0 ... off".
func (p *Port) setRXMode(req *loop.Request, command byte) bool {
	var b [1]byte
	if command >= rxModes || !read(req, b[:]) || b[0] > 1 {
		return false
	}
	p.change(func(c *settings) {
		c.modes[command] = b[0] == 1
		if command == rxPromisc {
			c.promisc = off + mode(b[0])
		}
	})
	return true
}

// setTables is VIRTIO_NET_CTRL_MAC_TABLE_SET (5.1.6.5.2): the unicast and multicast addresses that
// are received besides the guest's own.
func (p *Port) setTables(req *loop.Request) bool {
	unicast, more, ok := readMACs(req)
	if !ok {
		return false
	}
	multicast, moreMulticast, ok := readMACs(req)
	if !ok {
		return false
	}
	p.change(func(c *settings) {
		c.unicast, c.moreUnicast = unicast, more
		c.multicast, c.moreMulticast = multicast, moreMulticast
	})
	return true
}

// readMACs reads a table. If it has more entries than can be stored, more is true and none is
// stored.
func readMACs(req *loop.Request) (keys []uint64, more, ok bool) {
	var count [4]byte
	if !read(req, count[:]) {
		return nil, false, false
	}
	n := uint64(binary.LittleEndian.Uint32(count[:]))
	if n*6 > uint64(req.Reader.Len()) {
		return nil, false, false
	}
	if n > maxFilterMACs {
		req.Skip(int(n * 6))
		return nil, true, true
	}
	for range n {
		var mac [6]byte
		read(req, mac[:])
		keys = append(keys, macKey(mac[:]))
	}
	slices.Sort(keys)
	return keys, false, true
}

// setAddress is VIRTIO_NET_CTRL_MAC_ADDR_SET: it changes the guest's own address.
func (p *Port) setAddress(req *loop.Request) bool {
	var mac vswitch.MAC
	if !read(req, mac[:]) || mac[0]&1 != 0 || mac == (vswitch.MAC{}) {
		return false
	}
	p.space.replaceMAC(mac)
	p.change(func(c *settings) { c.addressSet = true })
	return true
}

// setVLAN is VIRTIO_NET_CTRL_VLAN_ADD and DEL (5.1.6.5.3).
func (p *Port) setVLAN(req *loop.Request, command byte) bool {
	var b [2]byte
	if command > vlanDel || !read(req, b[:]) {
		return false
	}
	vid := binary.LittleEndian.Uint16(b[:])
	if vid > 4095 {
		return false
	}
	p.change(func(c *settings) {
		var next vlanSet // the current one is in use by the data plane
		if c.vlans != nil {
			next = *c.vlans
		}
		if command == vlanAdd {
			next[vid/64] |= 1 << (vid % 64)
		} else {
			next[vid/64] &^= 1 << (vid % 64)
		}
		c.vlans = &next
	})
	return true
}

// setPairs is VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET (5.1.6.5.5). "The device MUST NOT queue packets on
// receive queues greater than virtqueue_pairs once it has placed the [command] in a used buffer."
func (p *Port) setPairs(req *loop.Request) bool {
	var b [2]byte
	if !read(req, b[:]) {
		return false
	}
	n := int(binary.LittleEndian.Uint16(b[:]))
	if n < 1 || n > p.space.pairs() {
		return false
	}
	p.change(func(c *settings) { c.pairs = n })
	p.applyPairs()
	return true
}

// setGuestOffloads is VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET (5.1.6.5.6): it sets which of the
// negotiated offloads are on. "A driver MUST NOT enable an offload for which the appropriate
// feature has not been negotiated."
func (p *Port) setGuestOffloads(req *loop.Request) bool {
	var b [8]byte
	if !read(req, b[:]) {
		return false
	}
	offloads := binary.LittleEndian.Uint64(b[:])
	if offloads&^(req.Features&guestOffloads) != 0 {
		return false
	}
	p.change(func(c *settings) { c.offloads = offloads })
	p.updateCaps()
	p.discardHeld(vswitch.DropNoFit) // they may have offloads that are off now
	return true
}

// refilter recomputes the filter. The caller holds mu.
func (p *Port) refilter() {
	c := &p.control
	if c.promisc == on || c.promisc == unset && c.vlans == nil {
		p.filter.Store(nil)
		return
	}
	f := &rxFilter{
		own: p.space.addresses(c.addressSet), unicast: c.unicast, multicast: c.multicast, vlans: c.vlans,
		anyMAC:       c.promisc == unset,
		allMulticast: c.modes[rxAllMulti] || c.moreMulticast,
		noUnicast:    c.modes[rxNoUni], noMulticast: c.modes[rxNoMulti], noBroadcast: c.modes[rxNoBcast],
	}
	f.allUnicast = c.modes[rxAllUni] || c.moreUnicast || len(f.own) == 0
	if f.vlans == nil && p.features&(1<<featureCtrlVLAN) != 0 {
		f.vlans = new(vlanSet) // the driver has joined no VLAN
	}
	p.filter.Store(f)
}

// offloadsOff returns the negotiated features that the driver has turned off.
func (p *Port) offloadsOff() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.control.active {
		return 0
	}
	return guestOffloads &^ p.control.offloads
}

// Control is the result of the driver's commands.
type Control struct {
	Ring             int // the queue's index
	Pairs            int // queue pairs in use
	Commands         uint64
	Refused          uint64
	Filtering        bool // by address; if not, frames to any address are received
	Promiscuous      bool // by command
	AllMulticast     bool // also if the driver has more groups than can be stored
	AllUnicast       bool // likewise, or if its address is not known
	NoMulticast      bool
	NoUnicast        bool
	NoBroadcast      bool
	Unicast          []vswitch.MAC // received besides the guest's own
	Multicast        []vswitch.MAC
	VLANs            []uint16 // whose frames are received
	FilteringVLANs   bool     // if not, frames of all VLANs are received
	GuestOffloads    uint64   // features that are on
	GuestOffloadsOff uint64   // negotiated features that are off
}

// Control returns the result of the driver's commands; nil: there is no control queue.
func (p *Port) Control() *Control {
	s := p.session.Load()
	if s == nil {
		return nil
	}
	features := s.Snapshot().Features
	p.mu.Lock()
	defer p.mu.Unlock()
	c := &p.control
	if !c.active {
		return nil
	}
	st := &Control{
		Ring: p.controlIndex(features), Pairs: max(c.pairs, 1), Commands: c.commands, Refused: c.refused,
		Filtering: c.promisc == off, Promiscuous: c.promisc == on,
		AllMulticast: c.modes[rxAllMulti] || c.moreMulticast, AllUnicast: c.modes[rxAllUni] || c.moreUnicast,
		NoMulticast: c.modes[rxNoMulti], NoUnicast: c.modes[rxNoUni], NoBroadcast: c.modes[rxNoBcast],
		GuestOffloads: c.offloads, GuestOffloadsOff: features & guestOffloads &^ c.offloads,
	}
	for _, key := range c.unicast {
		st.Unicast = append(st.Unicast, keyMAC(key))
	}
	for _, key := range c.multicast {
		st.Multicast = append(st.Multicast, keyMAC(key))
	}
	f := p.filter.Load()
	if f != nil && c.promisc == off {
		st.AllUnicast = f.allUnicast
	}
	if f != nil && f.vlans != nil {
		st.FilteringVLANs = true
		for vid := range uint16(4096) {
			if f.vlans.has(vid) {
				st.VLANs = append(st.VLANs, vid)
			}
		}
	}
	return st
}

// controlRing describes the control queue's ring, if the ring runs.
func (p *Port) controlRing() (r Ring, ok bool) {
	for i := range maxVrings {
		ok = p.control.queue.Look(i, func(vq *virtqueue.Queue, enabled bool) {
			r.Index, r.Enabled = i, enabled
			p.inspect(&r, vq)
		})
		if ok {
			break
		}
	}
	return r, ok
}
