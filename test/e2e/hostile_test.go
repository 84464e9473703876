//go:build e2e

package e2e

import (
	"bytes"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"vswitchd/internal/control"
	"vswitchd/test/station"
	"vswitchd/test/swtest"
	"vswitchd/vhostuser"
	"vswitchd/vhostuser/vhostusertest"
	"vswitchd/virtqueue/virtqueuetest"
)

// TestHostileFrontEnds attacks a port in all ways that a front-end has, while the guests of two
// other ports talk. They must not lose a frame; the port must be reset with a reason that is logged
// and counted, leave no file descriptor behind, and take the next guest.
func TestHostileFrontEnds(t *testing.T) {
	h := newBattle(t)
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			h.T = t
			h.attack(a)
		})
	}
	h.T = t
	h.peace()
}

// A battle is a switch with two guests that talk, a and b, and a port under attack, c.
type battle struct {
	*testing.T
	s    *swtest.Switch
	a, b *station.Station
	fds  int // open in vswitchd when nobody is connected to c
}

func newBattle(t *testing.T) *battle {
	s := swtest.Start(t, nil, `
[port.a]
mac = "52:54:00:00:00:01"
[port.b]
mac = "52:54:00:00:00:02"
[port.c]
mac = "52:54:00:00:00:03"
`)
	h := &battle{T: t, s: s}
	h.a, h.b = h.connect("a", 1), h.connect("b", 2)
	h.a.Talk(h.b.MAC(), 16)
	h.a.Talk(station.Broadcast, 4, h.b.MAC())
	h.b.Talk(h.a.MAC(), 16)
	h.a.Start()
	h.b.Start()
	s.WaitState(t, "a", control.StateRunning)
	s.WaitState(t, "b", control.StateRunning)
	h.must(h.a.Await(1000))
	h.visit() // so that everything has been opened once
	h.fds = s.FDs(t)
	return h
}

func (h *battle) must(err error) {
	h.Helper()
	if err != nil {
		h.Fatal(err)
	}
}

func (h *battle) connect(port string, n byte) *station.Station {
	h.Helper()
	s, err := station.Connect(h.s.Socket(port), station.Config{MAC: station.Addr(n), Ring: 1024})
	h.must(err)
	return s
}

func (h *battle) attack(a attack) {
	before, from := h.s.Port(h, "c").Counters, len(h.s.Log())
	a.run(h)
	if a.reason != "" { // which may have to wait its turn, after the attack before
		swtest.Until(h, "the port was reset", func() bool {
			return h.s.Port(h, "c").Counters.Resets.Total() > before.Resets.Total()
		})
	}
	h.s.WaitState(h, "c", control.StateListening)
	p := h.s.Port(h, "c")
	if a.reason != "" {
		if n := p.Counters.Resets[a.reason] - before.Resets[a.reason]; n != 1 || p.Counters.Resets.Total() != before.Resets.Total()+1 {
			h.Errorf("resets are %v, were %v; want one more %s", p.Counters.Resets, before.Resets, a.reason)
		}
		if !strings.Contains(p.LastError, a.text) {
			h.Errorf("last error is %q, want %q", p.LastError, a.text)
		}
		line := h.s.WaitLog(h, from, "port was reset")
		if !strings.Contains(line, "port=c") || !strings.Contains(line, a.text) {
			h.Errorf("logged: %s; want %q", line, a.text)
		}
		h.Log(line)
	}
	h.noFDs()
	h.visit()
	h.noFDs()
	h.othersAreWell()
}

// noFDs waits until all file descriptors of c's front-end are closed.
func (h *battle) noFDs() {
	h.Helper()
	h.s.Port(h, "c") // the control connection, which closes when it is idle, is among them
	swtest.Until(h, "vswitchd has closed all file descriptors", func() bool { return h.s.FDs(h) == h.fds })
}

// visit has a well-behaved guest come to port c, talk to the others, and leave.
func (h *battle) visit() {
	h.Helper()
	c := h.connect("c", 3)
	c.Talk(h.a.MAC(), 8)
	c.Talk(h.b.MAC(), 8)
	c.Talk(station.Broadcast, 2, h.a.MAC(), h.b.MAC())
	c.Start()
	h.must(c.Await(500))
	h.must(c.Drain())
	h.must(c.Leave())
	h.s.WaitState(h, "c", control.StateListening)
	if p := h.s.Port(h, "c"); p.LastError != "" {
		h.Errorf("after a good guest the port has the error %q", p.LastError)
	}
}

// othersAreWell checks that a and b go on and have lost nothing.
func (h *battle) othersAreWell() {
	h.Helper()
	h.must(h.a.Await(500))
	h.must(h.b.Await(500))
	for _, name := range []string{"a", "b"} {
		c := h.s.Port(h, name).Counters
		delete(c.Drops, "memory-fault") // frames of c's, in memory that it took away
		if len(c.Drops) != 0 || c.Reconnects != 0 || len(c.Resets) != 0 {
			h.Errorf("port %s: %+v", name, c)
		}
	}
}

// peace ends the traffic and takes stock.
func (h *battle) peace() {
	h.must(errors.Join(h.a.Drain(), h.b.Drain()))
	h.Logf("%d requests of a and %d of b were answered, each in its turn", h.a.Answered(), h.b.Answered())
	a, b := h.s.Port(h, "a"), h.s.Port(h, "b")
	if a.Counters.TxFrames != h.a.Received() || b.Counters.TxFrames != h.b.Received() {
		h.Errorf("sent %d frames to a and %d to b, who got %d and %d",
			a.Counters.TxFrames, b.Counters.TxFrames, h.a.Received(), h.b.Received())
	}
	h.must(errors.Join(h.a.Leave(), h.b.Leave()))
}

// An attack is something that a front-end does, and what is to become of it.
type attack struct {
	name   string
	run    func(h *battle)
	reason string // under which one reset is counted; "": the attack checks by itself
	text   string // in last_error and in the log
}

var attacks = []attack{
	{"garbage", send(bytes.Repeat([]byte{0xff}, 5000)), "malformed-message", "version 3"},
	{"zeroes", send(make([]byte, 5000)), "malformed-message", "version 0"},
	{"huge message", send(message(vhostuser.SetMemTable, 1<<31)), "malformed-message", "2147483648 bytes"},
	{"unknown message", send(message(9999, 0)), "malformed-message", "unknown message"},
	{"garbage while rings run", func(h *battle) {
		g := h.invade()
		h.must(g.fe.Write(bytes.Repeat([]byte("garbage "), 100)))
		g.expelled()
	}, "malformed-message", "malformed message"},
	{"half a header", halfway(message(vhostuser.GetFeatures, 0)[:5]), "truncated-message", "within a message"},
	{"half a message", halfway(message(vhostuser.SetVringNum, 8)), "truncated-message", "within a message"},
	{"half a message with file descriptors", halfway(message(vhostuser.SetVringKick, 8), 0, 1, 2), "truncated-message", "within a message"},
	{"no file descriptor for a ring", func(h *battle) {
		g := h.invade()
		h.must(g.fe.Send(vhostuser.SetVringKick, 0, vhostuser.VringFile{Index: 1}.AppendTo(nil)))
		g.expelled()
	}, "malformed-message", "SET_VRING_KICK"},
	{"no file descriptor for memory", func(h *battle) {
		g := h.invade()
		h.must(g.fe.Send(vhostuser.SetMemTable, 0, vhostuser.AppendMemTable(nil, []vhostuser.MemRegion{g.rings.Region})))
		g.expelled()
	}, "malformed-message", "SET_MEM_TABLE"},
	{"too many file descriptors", withFDs(20), "malformed-message", "file descriptors"},
	{"truncated ancillary data", withFDs(253), "malformed-message", "file descriptors"},
	{"file descriptors that nobody asked for", func(h *battle) {
		fe := h.dial()
		for range 100 {
			h.must(fe.Send(vhostuser.GetFeatures, 0, nil, 0, 1, 2))
			m, err := fe.Recv()
			if err != nil {
				break // refused, which is fine
			}
			m.Close()
		}
		fe.Close()
	}, "", ""},
	{"replies are not read", func(h *battle) {
		conn, err := net.Dial("unix", h.s.Socket("c"))
		h.must(err)
		// Until both directions are full, and vswitchd waits.
		h.must(conn.SetWriteDeadline(time.Now().Add(200 * time.Millisecond)))
		for err == nil {
			_, err = conn.Write(bytes.Repeat(message(vhostuser.GetFeatures, 0), 1000))
		}
		h.othersAreWell()
		conn.Close()
	}, "", ""},
	{"memory of frames is taken away", func(h *battle) {
		g := h.invade()
		h.must(g.data.Truncate(0))
		g.sendFrom(virtqueuetest.Buf{Addr: g.data.Region.GuestAddr, Len: 1000})
		g.expelled()
	}, "memory-fault", "guest memory vanished"},
	{"memory of frames is taken away under load", func(h *battle) {
		g := h.invade()
		for range 100 {
			g.sendNoise(station.Addr(2), g.data.Region.GuestAddr)
		}
		h.must(g.data.Truncate(0))
		g.sendNoise(station.Addr(2), g.data.Region.GuestAddr)
		g.expelled()
	}, "memory-fault", "guest memory vanished"},
	{"memory of a frame to everybody is taken away", func(h *battle) {
		g := h.invade()
		h.must(g.data.Truncate(0))
		g.sendNoise(station.Broadcast, g.data.Region.GuestAddr)
		g.expelled()
	}, "memory-fault", "guest memory vanished"},
	{"memory of receive buffers is taken away", func(h *battle) {
		g := h.invade()
		h.must(g.data.Truncate(0))
		g.receiveInto(g.data.Region.GuestAddr) // a's broadcasts do the rest
		g.expelled()
	}, "memory-fault", "guest memory vanished"},
	{"memory of the rings is taken away", func(h *battle) {
		g := h.invade()
		h.must(g.rings.Truncate(0))
		h.must(g.tx.Kick())
		g.expelled()
	}, "memory-fault", "guest memory vanished"},
	{"available index far ahead", func(h *battle) {
		g := h.invade()
		g.tx.Driver.SetAvailIdx(ringSize + 1)
		h.must(g.tx.Kick())
		g.expelled()
	}, "bad-ring", "ring 1: available index is ahead"},
	{"available index of the receive ring far ahead", func(h *battle) {
		g := h.invade()
		g.rx.Driver.SetAvailIdx(40000)
		g.expelled()
	}, "bad-ring", "ring 0: available index is ahead"},
	{"descriptor that is none", func(h *battle) {
		g := h.invade()
		g.tx.Driver.SetAvailEntry(0, ringSize)
		g.tx.Driver.SetAvailIdx(1)
		h.must(g.tx.Kick())
		g.expelled()
	}, "bad-ring", "ring 1: available ring names a descriptor outside the table"},
	{"flood of descriptor loops", floodOfLoops, "", ""},
	{"killed under load", killedUnderLoad, "died", "while its rings were running"},
	{"storm of connections", storm, "", ""},
	{"no more file descriptors", outOfFDs, "", ""},
}

// message returns the header of a message.
func message(r vhostuser.Request, size uint32) []byte {
	var b []byte
	for _, v := range []uint32{uint32(r), uint32(vhostuser.FlagVersion), size} {
		b = append(b, byte(v), byte(v>>8), byte(v>>16), byte(v>>24))
	}
	return b
}

// dial connects to port c.
func (h *battle) dial() *vhostusertest.FrontEnd {
	h.Helper()
	for {
		fe, err := vhostusertest.Dial(h.s.Socket("c"))
		if errors.Is(err, unix.EAGAIN) {
			continue // more are waiting than the backlog has room for
		}
		h.must(err)
		return fe
	}
}

// send sends bytes, and wants the connection to be closed.
func send(b []byte) func(h *battle) {
	return func(h *battle) {
		fe := h.dial()
		defer fe.Close()
		if err := fe.Write(b); err != nil && !errors.Is(err, unix.EPIPE) && !errors.Is(err, unix.ECONNRESET) {
			h.Fatal(err)
		}
		h.must(fe.WaitClosed())
	}
}

// halfway sends the beginning of a message, leaves it at that while the others go on, and closes
// the connection.
func halfway(b []byte, fds ...int) func(h *battle) {
	return func(h *battle) {
		fe := h.dial()
		h.must(fe.Write(b, fds...))
		h.othersAreWell()
		fe.Close()
	}
}

// withFDs sends a message with n file descriptors to a running device.
func withFDs(n int) func(h *battle) {
	return func(h *battle) {
		g := h.invade()
		h.must(g.fe.Send(vhostuser.SetVringCall, 0, vhostuser.VringFile{Index: 1}.AppendTo(nil), make([]int, n)...))
		g.expelled()
	}
}

const ringSize = 256

// An invader is a guest at port c whose rings run, to be used as the attack pleases.
type invader struct {
	*battle
	fe          *vhostusertest.FrontEnd
	rings, data *vhostusertest.Memory
	rx, tx      *vhostusertest.Ring
}

func (h *battle) invade() *invader {
	h.Helper()
	g := &invader{battle: h, fe: h.dial()}
	h.Cleanup(g.fe.Close)
	h.must(g.fe.Handshake(station.Features, station.ProtocolFeatures))
	var err error
	g.rings, err = g.fe.NewMemory(1 << 20)
	h.must(err)
	g.data, err = g.fe.NewMemory(1 << 20)
	h.must(err)
	h.must(g.fe.ShareMemory())
	g.rx, err = g.fe.NewRing(g.rings, 0, ringSize, 1<<18)
	h.must(err)
	g.tx, err = g.fe.NewRing(g.rings, 1, ringSize, 1<<18)
	h.must(err)
	h.must(g.fe.StartRing(g.rx))
	h.must(g.fe.StartRing(g.tx))
	h.s.WaitState(h, "c", control.StateRunning)
	return g
}

// expelled wants the connection to be closed by vswitchd.
func (g *invader) expelled() {
	g.Helper()
	g.must(g.fe.WaitClosed())
}

// sendFrom sends a frame that is in the given memory, its virtio-net header included.
func (g *invader) sendFrom(bufs ...virtqueuetest.Buf) {
	g.Helper()
	_, err := g.tx.Driver.AddChain(bufs, nil)
	g.must(err)
	g.tx.Driver.Publish()
	g.must(g.tx.Kick())
}

// sendNoise sends a frame the end of which is at a guest-physical address.
func (g *invader) sendNoise(to station.MAC, end uint64) {
	g.Helper()
	from := station.Addr(3)
	frame := make([]byte, 12+300)
	copy(frame[12:], to[:])
	copy(frame[18:], from[:])
	frame[24], frame[25] = station.EtherTypeNoise>>8, station.EtherTypeNoise&0xff
	b := g.tx.Driver.Alloc(len(frame))
	g.tx.Driver.Write(b.Addr, frame)
	g.sendFrom(b, virtqueuetest.Buf{Addr: end, Len: 1000})
}

// receiveInto offers receive buffers.
func (g *invader) receiveInto(addr uint64) {
	g.Helper()
	for i := range uint64(64) {
		_, err := g.rx.Driver.AddChain(nil, []virtqueuetest.Buf{{Addr: addr + i*2048, Len: 2048}})
		g.must(err)
	}
	g.rx.Driver.Publish()
}

// floodOfLoops offers chains without an end, on both rings, as fast as they come back. They are
// dropped one by one; the connection stays.
func floodOfLoops(h *battle) {
	g := h.invade()
	drops := h.s.Port(h, "c").Counters.Drops["bad-chain"]
	for _, r := range []*vhostusertest.Ring{g.rx, g.tx} {
		for i := range uint16(ringSize) {
			r.Driver.SetDesc(i, virtqueuetest.Desc{
				Addr: g.rings.Region.GuestAddr, Len: 100, Flags: virtqueuetest.FlagNext, Next: i ^ 1,
			})
			r.Driver.SetAvailEntry(i, i)
		}
		r.Driver.SetAvailIdx(ringSize)
	}
	h.must(g.tx.Kick())
	const rounds = 50
	used := func() uint16 { _, idx := g.tx.Driver.Used(); return idx }
	for round := uint16(1); round <= rounds; round++ {
		swtest.Until(h, "loops have come back", func() bool { return used() == round*ringSize })
		if round < rounds {
			g.tx.Driver.SetAvailIdx((round + 1) * ringSize)
			h.must(g.tx.Kick())
		}
	}
	swtest.Until(h, "loops are counted", func() bool {
		return h.s.Port(h, "c").Counters.Drops["bad-chain"] == drops+rounds*ringSize
	})
	swtest.Until(h, "broadcasts have met loops, too", func() bool { _, idx := g.rx.Driver.Used(); return idx == ringSize })
	if p := h.s.Port(h, "c"); p.State != control.StateRunning || p.LastError != "" {
		h.Errorf("port is %s, %q", p.State, p.LastError)
	}
	for _, r := range g.fe.Rings {
		_, err := g.fe.StopRing(r)
		h.must(err)
	}
	g.fe.Close()
}

// storm connects and disconnects, at every stage of a session.
func storm(h *battle) {
	before := h.s.Port(h, "c").Counters
	const rounds = 100
	for range rounds {
		h.dial().Close()

		fe := h.dial()
		h.must(fe.Handshake(station.Features, station.ProtocolFeatures))
		fe.Close()

		fe = h.dial()
		h.must(fe.Write([]byte{1}, 0, 1, 2))
		fe.Close()

		h.must(h.connect("c", 3).Die())
	}
	// Those that have just hung up may still be waiting to be accepted.
	swtest.Until(h, "all have been served", func() bool {
		p := h.s.Port(h, "c")
		return p.State == control.StateListening && p.Counters.Reconnects == before.Reconnects+4*rounds
	})
	after := h.s.Port(h, "c").Counters.Resets
	for _, reason := range []string{"truncated-message", "died"} {
		if after[reason] != before.Resets[reason]+rounds {
			h.Errorf("resets are %v, were %v; want %d more %s", after, before.Resets, rounds, reason)
		}
	}
}

// outOfFDs has vswitchd run out of file descriptors when a front-end comes.
func outOfFDs(h *battle) {
	var limit unix.Rlimit
	h.must(unix.Prlimit(h.s.PID(), unix.RLIMIT_NOFILE, nil, &limit))
	none := limit
	none.Cur = 3
	h.must(unix.Prlimit(h.s.PID(), unix.RLIMIT_NOFILE, &none, nil))
	defer unix.Prlimit(h.s.PID(), unix.RLIMIT_NOFILE, &limit, nil)
	from := len(h.s.Log())
	fe := h.dial()
	line := h.s.WaitLog(h, from, "no front-end can connect for now")
	if !strings.Contains(line, "port=c") || !strings.Contains(line, "too many open files") {
		h.Errorf("logged: %s", line)
	}
	h.Log(line)
	h.othersAreWell()
	h.must(unix.Prlimit(h.s.PID(), unix.RLIMIT_NOFILE, &limit, nil))
	h.must(fe.Handshake(station.Features, station.ProtocolFeatures))
	fe.Close()
}

// The attacker that is killed is this program, run with the socket in this variable.
const attackerEnv = "VSWITCHD_TEST_ATTACK"

func TestMain(m *testing.M) {
	if socket := os.Getenv(attackerEnv); socket != "" {
		os.Exit(attackUntilKilled(socket))
	}
	os.Exit(m.Run())
}
