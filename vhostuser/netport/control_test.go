package netport_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"testing"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
	"vswitchd/vhostuser"
	"vswitchd/vhostuser/loop"
	"vswitchd/vhostuser/netport"
	"vswitchd/vhostuser/vhostusertest"
)

// Features of the control queue (virtio 1.2, section 5.1.3).
const (
	ctrlOffloads = 1 << 2
	ctrlVQ       = 1 << 17
	ctrlRX       = 1 << 18
	ctrlVLAN     = 1 << 19
	ctrlRXExtra  = 1 << 20
	ctrlMACAddr  = 1 << 23
	ctrlAll      = ctrlOffloads | ctrlVQ | ctrlRX | ctrlVLAN | ctrlRXExtra | ctrlMACAddr
)

// Commands of the control queue (5.1.6.5), and their results.
var (
	promisc     = [2]byte{0, 0}
	allMulti    = [2]byte{0, 1}
	allUni      = [2]byte{0, 2}
	noMulti     = [2]byte{0, 3}
	noUni       = [2]byte{0, 4}
	noBcast     = [2]byte{0, 5}
	macTable    = [2]byte{1, 0}
	macAddr     = [2]byte{1, 1}
	vlanAdd     = [2]byte{2, 0}
	vlanDel     = [2]byte{2, 1}
	announceAck = [2]byte{3, 0}
	setPairs    = [2]byte{4, 0}
	setOffloads = [2]byte{5, 0}
)

const (
	ackOK  = 0
	ackErr = 1
)

// A commander is a guest whose front-end passes the device's features through to its driver.
type commander struct {
	*guest
	control *vhostusertest.Ring
	other   *guest // sends to it
}

// command connects a guest with a control queue.
func (l *lab) command(cfg guestConfig) *commander {
	l.Helper()
	c := &commander{guest: l.connect(cfg)}
	c.startControl()
	c.other = l.newGuest(guestConfig{features: modern | csum | hostTSO4, offloads: netport.AllOffloads})
	for _, r := range c.rx {
		c.post(r, 100, 2000)
	}
	return c
}

// startControl sets up the control queue, like a new driver.
func (c *commander) startControl() {
	c.Helper()
	index := 2
	if c.front.Features&mq != 0 {
		index = 2 * int(binary.LittleEndian.Uint16(c.port.ReadConfig()[8:]))
	}
	mem, err := c.front.NewMemory(1 << 20)
	c.must(err)
	c.must(c.front.ShareMemory())
	c.control, err = c.front.NewRing(mem, index, 16, 64<<10)
	c.must(err)
	c.must(c.front.StartRing(c.control))
}

// commands makes the driver send a command, and returns the result; -1: there was none.
func (c *commander) commands(command [2]byte, data ...byte) int {
	c.Helper()
	return c.commandsIn(1, slices.Concat(command[:], data))
}

// commandsIn is commands with the given number of bytes for the result, and the request in pieces.
func (c *commander) commandsIn(room int, request ...[]byte) int {
	c.Helper()
	d := c.control.Driver
	var out, in []buf
	for _, part := range request {
		if len(part) > 0 {
			b := d.Alloc(len(part))
			copy(d.Bytes(b), part)
			out = append(out, b)
		}
	}
	if room > 0 {
		in = append(in, d.Alloc(room))
		d.Bytes(in[0])[0] = 0xff
	}
	if len(out)+len(in) == 0 {
		return -1
	}
	_, err := d.AddChain(out, in)
	c.must(err)
	d.Publish()
	c.must(c.control.Kick())
	for {
		head, n, ok := d.PollUsed()
		if !ok {
			if !d.Arm() {
				c.must(c.control.WaitCall())
			}
			continue
		}
		d.Release(head)
		ack := -1
		if n > 0 {
			ack = int(d.Bytes(in[0])[0])
		}
		d.FreeBuf(append(out, in...)...)
		return ack
	}
}

// ok sends a command that has to succeed.
func (c *commander) ok(command [2]byte, data ...byte) {
	c.Helper()
	if ack := c.commands(command, data...); ack != ackOK {
		c.Fatalf("command %v of %x is answered with %d", command, data, ack)
	}
}

// refused sends a command that has to be refused.
func (c *commander) refused(command [2]byte, data ...byte) {
	c.Helper()
	if ack := c.commands(command, data...); ack != ackErr {
		c.Errorf("command %v of %x is answered with %d", command, data, ack)
	}
}

// arrives reports whether a frame to an address, with a tag (-1: none), reaches the guest.
func (c *commander) arrives(to vswitch.MAC, vid int) bool {
	c.Helper()
	frame := vswitchtest.Ether(to, vswitchtest.Station(c.other.n), make([]byte, 60))
	if vid >= 0 {
		frame = slices.Concat(frame[:12], []byte{0x81, 0, byte(vid >> 8), byte(vid)}, frame[12:])
	}
	c.other.send(frame)
	c.other.poll()
	c.other.reclaim()
	for _, r := range c.rx {
		if _, ok := c.receive(r); ok {
			c.post(r, 1, 2000)
			return true
		}
	}
	return false
}

// receives checks which of the frames to some addresses reach the guest.
func (c *commander) receives(what string, want map[vswitch.MAC]bool) {
	c.Helper()
	for mac, want := range want {
		if got := c.arrives(mac, -1); got != want {
			c.Errorf("%s: frame to %v arrives: %v", what, mac, got)
		}
	}
}

var (
	broadcast = vswitch.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	groupA    = vswitch.MAC{0x33, 0x33, 0, 0, 0, 1}
	groupB    = vswitch.MAC{0x33, 0x33, 0, 0, 0, 2}
	strangerA = vswitch.MAC{0x52, 0x54, 0, 0xaa, 0, 1}
	strangerB = vswitch.MAC{0x52, 0x54, 0, 0xaa, 0, 2}
)

// tables encodes the data of MAC_TABLE_SET.
func tables(unicast, multicast []vswitch.MAC) (data []byte) {
	for _, table := range [][]vswitch.MAC{unicast, multicast} {
		data = binary.LittleEndian.AppendUint32(data, uint32(len(table)))
		for _, mac := range table {
			data = append(data, mac[:]...)
		}
	}
	return data
}

func le16(v int) []byte { return binary.LittleEndian.AppendUint16(nil, uint16(v)) }

func le64(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }

// Frames are not filtered before a driver asks for it: the driver may not know of filters.
func TestDriverWithoutCommandsReceivesEverything(t *testing.T) {
	c := newLab(t).command(guestConfig{features: modern | ctrlAll, mac: ownMAC})
	c.receives("no command", map[vswitch.MAC]bool{ownMAC: true, strangerA: true, groupA: true, broadcast: true})
	if !c.arrives(strangerA, 7) {
		t.Error("a tagged frame does not arrive")
	}
}

func TestReceiveModes(t *testing.T) {
	on, off := byte(1), byte(0)
	for name, step := range map[string]struct {
		commands [][3]byte
		want     map[vswitch.MAC]bool
	}{
		"promiscuous off":   {[][3]byte{{0, 0, off}}, map[vswitch.MAC]bool{ownMAC: true, strangerA: false, groupA: false, broadcast: true}},
		"on again":          {[][3]byte{{0, 0, off}, {0, 0, on}}, map[vswitch.MAC]bool{ownMAC: true, strangerA: true, groupA: true, broadcast: true}},
		"all multicast":     {[][3]byte{{0, 0, off}, {0, 1, on}}, map[vswitch.MAC]bool{ownMAC: true, strangerA: false, groupA: true, broadcast: true}},
		"all unicast":       {[][3]byte{{0, 0, off}, {0, 2, on}}, map[vswitch.MAC]bool{ownMAC: true, strangerA: true, groupA: false, broadcast: true}},
		"no multicast":      {[][3]byte{{0, 0, off}, {0, 1, on}, {0, 3, on}}, map[vswitch.MAC]bool{ownMAC: true, groupA: false, broadcast: true}},
		"no unicast":        {[][3]byte{{0, 0, off}, {0, 2, on}, {0, 4, on}}, map[vswitch.MAC]bool{ownMAC: false, strangerA: false, broadcast: true}},
		"no broadcast":      {[][3]byte{{0, 0, off}, {0, 1, on}, {0, 5, on}}, map[vswitch.MAC]bool{ownMAC: true, groupA: true, broadcast: false}},
		"promiscuous wins":  {[][3]byte{{0, 3, on}, {0, 4, on}, {0, 5, on}, {0, 0, on}}, map[vswitch.MAC]bool{ownMAC: true, strangerA: true, groupA: true, broadcast: true}},
		"modes without off": {[][3]byte{{0, 3, on}}, map[vswitch.MAC]bool{ownMAC: true, groupA: true}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newLab(t).command(guestConfig{features: modern | ctrlAll, mac: ownMAC})
			for _, m := range step.commands {
				c.ok([2]byte{m[0], m[1]}, m[2])
			}
			c.receives(name, step.want)
		})
	}
}

// A frame that the filter rejects is counted as filtered, and the others of its batch arrive.
func TestFilteredFramesAreCounted(t *testing.T) {
	c := newLab(t).command(guestConfig{features: modern | ctrlAll, mac: ownMAC})
	c.ok(promisc, 0)
	for _, to := range []vswitch.MAC{strangerA, ownMAC, groupA, ownMAC} {
		r := c.other.tx[0]
		frame := vswitchtest.Ether(to, vswitchtest.Station(c.other.n), make([]byte, 60))
		r.offer(t, false, r.cut(slices.Concat(c.other.header(), frame)), nil)
	}
	c.other.tx[0].publish()
	c.other.poll()
	for range 2 {
		if _, ok := c.receive(c.rx[0]); !ok {
			t.Fatal("a frame to the guest does not arrive")
		}
	}
	c.getsNothing()
	c.dropped(map[vswitch.DropReason]uint64{vswitch.DropFiltered: 2})
	if n := c.counters.TxFrames.Load(); n != 2 {
		t.Errorf("%d frames are counted as sent", n)
	}
}

func TestTablesOfAddresses(t *testing.T) {
	c := newLab(t).command(guestConfig{features: modern | ctrlAll, mac: ownMAC})
	c.ok(promisc, 0)
	c.ok(macTable, tables([]vswitch.MAC{strangerB, strangerA}, []vswitch.MAC{groupB})...)
	c.receives("tables", map[vswitch.MAC]bool{ownMAC: true, strangerA: true, strangerB: true, groupA: false, groupB: true})
	c.ok(macTable, tables(nil, []vswitch.MAC{groupA})...)
	c.receives("other tables", map[vswitch.MAC]bool{ownMAC: true, strangerA: false, groupA: true, groupB: false})

	// Truncated tables change nothing.
	whole := tables([]vswitch.MAC{strangerA}, []vswitch.MAC{groupB})
	for n := range len(whole) {
		c.refused(macTable, whole[:n]...)
	}
	c.refused(macTable, 0xff, 0xff, 0xff, 0xff)
	c.receives("bad tables", map[vswitch.MAC]bool{strangerA: false, groupA: true, groupB: false})

	// If there are too many addresses of a kind, all frames of the kind are received.
	many := make([]vswitch.MAC, 1000)
	for i := range many {
		many[i] = vswitch.MAC{0x33, 0x33, 1, 0, byte(i >> 8), byte(i)}
	}
	c.ok(macTable, tables(nil, many)...)
	c.receives("many groups", map[vswitch.MAC]bool{ownMAC: true, strangerA: false, groupA: true})
}

// A driver whose address is not known, because it has made one up, has to receive the frames
// to that address.
func TestAddressThatIsNotKnown(t *testing.T) {
	c := newLab(t).command(guestConfig{features: modern | ctrlAll})
	c.ok(promisc, 0)
	c.receives("made up", map[vswitch.MAC]bool{strangerA: true, groupA: false, broadcast: true})
	c.ok(macAddr, strangerA[:]...)
	c.receives("told", map[vswitch.MAC]bool{strangerA: true, strangerB: false})
	if got := vswitch.MAC(c.port.ReadConfig()); got != strangerA {
		t.Errorf("the configuration space has %v", got)
	}
	c.refused(macAddr, groupA[:]...)
	c.refused(macAddr, 0, 0, 0, 0, 0, 0)
	c.refused(macAddr, strangerB[:5]...)
	c.receives("bad addresses", map[vswitch.MAC]bool{strangerA: true, strangerB: false})
}

func TestVLANFilter(t *testing.T) {
	for name, unfiltered := range map[string]bool{"addresses filtered": false, "addresses not filtered": true} {
		t.Run(name, func(t *testing.T) {
			c := newLab(t).command(guestConfig{features: modern | ctrlAll, mac: ownMAC})
			if !unfiltered {
				c.ok(promisc, 0)
			}
			want := func(vids map[int]bool) {
				t.Helper()
				for vid, want := range vids {
					if c.arrives(ownMAC, vid) != want {
						t.Errorf("frame of VLAN %d arrives: %v", vid, !want)
					}
				}
			}
			want(map[int]bool{-1: true, 0: true, 5: unfiltered})
			for _, vid := range []int{5, 63, 64, 4094} {
				c.ok(vlanAdd, le16(vid)...)
			}
			want(map[int]bool{-1: true, 0: true, 5: true, 63: true, 64: true, 4094: true, 6: false, 4093: false, 69: false})
			c.ok(vlanDel, le16(5)...)
			c.ok(vlanDel, le16(77)...)
			want(map[int]bool{5: false, 63: true})
			c.refused(vlanAdd, le16(4096)...)
			c.refused(vlanAdd, 5)
			want(map[int]bool{5: false, 63: true})
			c.ok(promisc, 1)
			want(map[int]bool{5: true, 77: true})
		})
	}
}

// A driver uses one queue pair until a command sets another number, and frames go to no other
// queue.
func TestQueuePairsByCommand(t *testing.T) {
	c := newLab(t).command(guestConfig{features: modern | mq | ctrlAll, queues: 4})
	queues := func() (used int) {
		for i := range 200 {
			frame := append(c.other.frameTo(c.guest, 14)[:12], ipv4(false, 17, 0)...)
			binary.BigEndian.PutUint16(frame[34:], uint16(i))
			c.other.send(frame)
			c.other.poll()
			c.other.reclaim()
		}
		for i, r := range c.rx {
			n := 0
			for {
				if _, ok := c.receive(r); !ok {
					break
				}
				n++
				c.post(r, 1, 2000)
			}
			if n > 0 {
				if i != used {
					t.Errorf("queue %d is used, but one before it is not", i)
				}
				used++
			}
		}
		return used
	}
	for _, r := range c.rx {
		c.post(r, 100, 2000)
	}
	if n := queues(); n != 1 {
		t.Errorf("%d queues are used before any command", n)
	}
	for _, n := range []int{4, 2, 3, 1, 4} {
		c.ok(setPairs, le16(n)...)
		if got := queues(); got != n || c.port.Receiving() != n {
			t.Errorf("%d queues are used, and %d reported, want %d", got, c.port.Receiving(), n)
		}
	}
	for _, n := range []int{0, 5, 0x8000, 0xffff} {
		c.refused(setPairs, le16(n)...)
	}
	c.refused(setPairs, 1)
	if got := queues(); got != 4 {
		t.Errorf("after bad commands %d queues are used, want 4", got)
	}
	if st := c.port.Control(); st == nil || st.Pairs != 4 || st.Ring != 8 || st.Commands != 10 || st.Refused != 5 {
		t.Errorf("the port reports %+v", st)
	}
	for _, r := range c.port.Status().Rings {
		if !r.Running || !r.Enabled || r.Index == 8 && r.UsedIdx != 10 {
			t.Errorf("the port reports for ring %d: %+v", r.Index, r)
		}
	}
}

// With the largest number of queue pairs the index of a control queue would exceed the range of
// messages: the configuration space has one pair less.
func TestControlQueueBehindTheMostQueuePairs(t *testing.T) {
	g := newLab(t).connect(guestConfig{features: modern | mq | ctrlAll, queues: netport.MaxQueues, size: 16, memory: 1 << 16})
	c := &commander{guest: g, control: g.front.Rings[254]}
	if n := binary.LittleEndian.Uint16(c.port.ReadConfig()[8:]); n != 127 {
		t.Errorf("the configuration space has %d queue pairs", n)
	}
	c.ok(setPairs, le16(127)...)
	c.refused(setPairs, le16(128)...)
}

func TestGuestOffloads(t *testing.T) {
	const offloads = guestCsum | guestTSO4
	c := newLab(t).command(guestConfig{features: modern | offloads | ctrlAll, offloads: netport.AllOffloads})
	send := func() (header []byte, frames int) {
		payload := c.other.sendTSO(c.guest, 4000)
		size := 0
		for size < len(payload) {
			f, ok := c.receive(c.rx[0])
			if !ok {
				t.Fatalf("%d bytes have arrived, drops %v", size, c.counters.DropsByName())
			}
			header, frames, size = f.header, frames+1, size+len(f.frame)-54
		}
		for range 4 {
			c.post(c.rx[0], 1, 2000)
		}
		return header, frames
	}
	// partial sends a frame whose checksum is not complete, and reports whether it arrives so.
	partial := func() bool {
		frame := tcp4(c.other, c.guest, 200)
		r := c.other.tx[0]
		r.offer(t, false, r.cut(slices.Concat([]byte{1, 0, 0, 0, 0, 0, 34, 0, 16, 0, 0, 0}, frame)), nil)
		r.publish()
		c.other.poll()
		c.other.reclaim()
		f, ok := c.receive(c.rx[0])
		if !ok {
			t.Fatal("a frame does not arrive")
		}
		c.post(c.rx[0], 1, 2000)
		return f.header[0]&1 != 0
	}
	for _, step := range []struct {
		on      uint64
		frames  int
		partial bool
	}{{offloads, 1, true}, {guestCsum, 3, true}, {0, 3, false}, {offloads, 1, true}} {
		c.ok(setOffloads, le64(step.on)...)
		if header, frames := send(); frames != step.frames {
			t.Errorf("offloads %#x: %d frames, header %x", step.on, frames, header)
		}
		if got := partial(); got != step.partial {
			t.Errorf("offloads %#x: a partial checksum arrives as one: %v", step.on, got)
		}
	}
	c.ok(setOffloads, le64(0)...)
	c.refused(setOffloads, le64(guestCsum|1<<8)...) // TSO6 is not negotiated
	c.refused(setOffloads, le64(csum)...)           // not a feature of the guest's
	c.refused(setOffloads, 2, 0, 0, 0)
	if _, frames := send(); frames != 3 {
		t.Errorf("after bad commands there are %d frames", frames)
	}
}

// Each command needs a feature, and has no effect without it.
func TestCommandsNeedTheirFeatures(t *testing.T) {
	for command, data := range map[[2]byte][]byte{
		promisc: {0}, allMulti: {0}, allUni: {0}, noMulti: {0}, noUni: {0}, noBcast: {0},
		macTable: make([]byte, 8), macAddr: strangerA[:], vlanAdd: {1, 0}, vlanDel: {1, 0},
		setPairs: {1, 0}, setOffloads: make([]byte, 8),
	} {
		c := newLab(t).command(guestConfig{features: modern | ctrlVQ, mac: ownMAC})
		c.refused(command, data...)
		c.receives(fmt.Sprint(command), map[vswitch.MAC]bool{ownMAC: true, strangerA: true, groupA: true})
	}
	c := newLab(t).command(guestConfig{features: modern | ctrlAll, mac: ownMAC})
	for _, command := range [][2]byte{announceAck, {0, 6}, {0, 255}, {1, 2}, {2, 2}, {4, 0}, {4, 1}, {4, 2}, {5, 1}, {6, 0}, {255, 255}} {
		c.refused(command, 1, 0, 0, 0, 0, 0, 0, 0)
	}
	c.refused(promisc)
	c.refused(promisc, 2)
	c.receives("bad commands", map[vswitch.MAC]bool{ownMAC: true, strangerA: true, groupA: true})
}

// A driver may split its request arbitrarily. Without room for a result there is none.
func TestRequestsInPieces(t *testing.T) {
	c := newLab(t).command(guestConfig{features: modern | ctrlAll, mac: ownMAC})
	if ack := c.commandsIn(1, []byte{0}, []byte{0}, []byte{0}); ack != ackOK {
		t.Errorf("pieces of a byte: %d", ack)
	}
	c.receives("in pieces", map[vswitch.MAC]bool{ownMAC: true, strangerA: false})
	if ack := c.commandsIn(0, []byte{0, 0, 1}); ack != -1 {
		t.Errorf("no room: %d", ack)
	}
	c.receives("without an answer", map[vswitch.MAC]bool{strangerA: true})
	if ack := c.commandsIn(16, []byte{0, 0, 0}); ack != ackOK {
		t.Errorf("much room: %d", ack)
	}
	for _, short := range [][]byte{nil, {0}, {0, 0}} {
		if ack := c.commandsIn(1, short); ack != ackErr {
			t.Errorf("request %v: %d", short, ack)
		}
	}
}

// QEMU and DPDK's virtio-user implement the control queue themselves and do not acknowledge
// CTRL_VQ, though DPDK does acknowledge the features of its commands. For them nothing changes.
func TestWithoutControlQueueNothingIsFiltered(t *testing.T) {
	l := newLab(t)
	g := l.connect(guestConfig{features: modern | mq | ctrlRX | ctrlVLAN | ctrlMACAddr, queues: 2, mac: ownMAC})
	if n := g.port.Receiving(); n != 2 {
		t.Errorf("%d queues receive", n)
	}
	if g.port.Control() != nil {
		t.Error("the port reports a control queue")
	}
	mem := g.data
	ring, err := g.front.NewRing(mem, 4, 16, 0)
	g.must(err)
	if err := g.front.StartRing(ring); !errors.Is(err, vhostusertest.ErrNack) {
		t.Errorf("starting a control queue: %v", err)
	}
}

// The settings of one driver do not apply to the next.
func TestSettingsEndWithTheirDriver(t *testing.T) {
	for name, next := range map[string]func(c *commander){
		"another front-end": func(c *commander) {
			_ = c.hangUp()
			c.dial()
			c.startControl()
		},
		"driver disabled its rings": func(c *commander) {
			for _, r := range c.front.Rings {
				c.must(c.front.EnableRing(r, false))
			}
			c.must(c.front.StartRing(c.front.Rings[0]))
			c.must(c.front.StartRing(c.front.Rings[2]))
		},
		"new control queue": func(c *commander) {
			_, err := c.front.StopRing(c.control)
			c.must(err)
			c.startControl()
		},
	} {
		for format, features := range map[string]uint64{"split": 0, "packed": packed} {
			t.Run(name+", "+format, func(t *testing.T) {
				l := newLab(t)
				l.work(1)
				c := l.command(guestConfig{features: modern | mq | ctrlAll | features, queues: 4, mac: ownMAC})
				c.ok(promisc, 0)
				c.ok(setPairs, 3, 0)
				c.ok(vlanAdd, 9, 0)
				next(c)
				st := c.port.Control()
				if st.Filtering || st.FilteringVLANs || st.Pairs != 1 {
					t.Errorf("the next driver has %+v", st)
				}
				if n := c.port.Receiving(); n > 1 {
					t.Errorf("the next driver receives on %d queues", n)
				}
			})
		}
	}
}

// A guest that was suspended continues unchanged: its driver does not send its commands again.
func TestCommandsOutliveASuspension(t *testing.T) {
	for format, features := range map[string]uint64{"split": 0, "packed": packed} {
		t.Run(format, func(t *testing.T) {
			c := newLab(t).command(guestConfig{features: modern | mq | guestCsum | ctrlAll | features, queues: 2, mac: ownMAC, offloads: netport.AllOffloads})
			c.ok(promisc, 0)
			c.ok(setPairs, 2, 0)
			c.ok(setOffloads, le64(0)...)
			bases := make([]uint32, len(c.front.Rings))
			for i, r := range c.front.Rings {
				c.must(c.front.EnableRing(r, false))
				base, err := c.front.StopRing(r)
				c.must(err)
				bases[i] = base
			}
			for i, r := range c.front.Rings {
				c.must(c.front.StartRingAt(r, bases[i]))
			}
			if st := c.port.Control(); !st.Filtering || st.Pairs != 2 || st.GuestOffloadsOff != guestCsum {
				t.Errorf("after a suspension: %+v", st)
			}
			c.ok(promisc, 1)
		})
	}
}

// After a crash of the back-end the driver's settings are not known. The driver gets what any
// driver can receive: frames to any address, with complete checksums, on the first queue.
func TestDriverWhoseCommandsAreNotKnown(t *testing.T) {
	c := newLab(t).command(guestConfig{features: modern | mq | guestCsum | ctrlAll, queues: 2, mac: ownMAC, offloads: netport.AllOffloads})
	c.ok(promisc, 0)
	c.ok(setPairs, 2, 0)
	front, backend, err := c.front.Reconnect()
	c.must(err)
	_ = c.end()
	c.serve(front, backend)
	c.must(front.Handshake(c.cfg.features, 1<<vhostuser.ProtocolFeatureMQ|1<<vhostuser.ProtocolFeatureReplyAck))
	c.must(front.ShareMemory())
	for _, r := range front.Rings {
		c.must(front.StartRing(r))
	}
	if st := c.port.Control(); st.Filtering || st.Pairs != 1 || st.GuestOffloadsOff != guestCsum {
		t.Errorf("the port reports %+v", st)
	}
	c.ok(setOffloads, le64(guestCsum)...)
	c.ok(setPairs, 2, 0)
	if st := c.port.Control(); st.Pairs != 2 || st.GuestOffloadsOff != 0 {
		t.Errorf("the port reports %+v", st)
	}
}

// While its control queue is disabled a driver's commands have no effect.
func TestDisabledControlQueue(t *testing.T) {
	c := newLab(t).command(guestConfig{features: modern | ctrlAll, mac: ownMAC})
	c.must(c.front.EnableRing(c.control, false))
	if ack := c.commands(promisc, 0); ack != -1 {
		t.Errorf("a command is answered with %d", ack)
	}
	c.receives("disabled", map[vswitch.MAC]bool{strangerA: true})
	c.must(c.front.EnableRing(c.control, true))
	c.ok(promisc, 0)
}

// The memory of a request may vanish, which ends the guest's own session.
func TestMemoryOfARequestVanishes(t *testing.T) {
	c := newLab(t).command(guestConfig{features: modern | ctrlAll})
	mem, err := c.front.NewMemory(1 << 20)
	c.must(err)
	c.must(c.front.ShareMemory())
	c.must(mem.Truncate(0))
	_, err = c.control.Driver.AddChain([]buf{{Addr: mem.Region.GuestAddr, Len: 3}}, nil)
	c.must(err)
	c.control.Driver.Publish()
	c.must(c.control.Kick())
	if err := c.end(); !errors.Is(err, loop.ErrMemoryGone) {
		t.Errorf("the session has ended with %v", err)
	}
}

// Whatever a driver writes, it gets a result for each request, and its port continues to work.
func FuzzControlQueue(f *testing.F) {
	f.Add([]byte{0, 0, 0}, uint8(0), uint8(1))
	f.Add(slices.Concat(macTable[:], tables([]vswitch.MAC{strangerA}, []vswitch.MAC{groupA})), uint8(3), uint8(1))
	f.Add(slices.Concat(macTable[:], []byte{0xff, 0xff, 0xff, 0xff, 1, 2, 3}), uint8(2), uint8(4))
	f.Add([]byte{2, 0, 5, 0}, uint8(1), uint8(1))
	f.Add([]byte{4, 0, 2, 0}, uint8(0), uint8(1))
	f.Add([]byte{5, 0, 2, 0, 0, 0, 0, 0, 0, 0}, uint8(0), uint8(0))
	f.Fuzz(func(t *testing.T, request []byte, cut, room uint8) {
		if len(request) == 0 || len(request) > 16<<10 {
			return
		}
		c := newLab(t).command(guestConfig{features: modern | mq | guestCsum | guestTSO4 | ctrlAll, queues: 2, mac: ownMAC, offloads: netport.AllOffloads})
		at := min(int(cut), len(request))
		ack := c.commandsIn(int(room), request[:at], request[at:])
		if room > 0 && ack != ackOK && ack != ackErr || room == 0 && ack != -1 {
			t.Errorf("answered with %d", ack)
		}
		st := c.port.Control()
		if st.Pairs < 1 || st.Pairs > 2 || st.GuestOffloads&^(guestCsum|guestTSO4) != 0 || len(st.Unicast) > 256 || len(st.Multicast) > 256 {
			t.Errorf("the port reports %+v", st)
		}
		for _, to := range []vswitch.MAC{ownMAC, strangerA, groupA, broadcast} {
			c.arrives(to, int(cut))
		}
	})
}
