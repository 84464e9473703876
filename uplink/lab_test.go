package uplink

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/go-hclog"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"vswitchd/internal/worker"
	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
	"vswitchd/test/logbuf"
)

// A lab is a veth pair: up0 here, for the uplink, and far0 in another network namespace.
type lab struct {
	t     testing.TB
	farNS int // fd
}

const (
	nearName = "up0"
	farName  = "far0"
)

var (
	nearMAC  = net.HardwareAddr{0x02, 0, 0, 0, 0, 0x01}
	farMAC   = net.HardwareAddr{0x02, 0, 0, 0, 0, 0x02}
	guestMAC = net.HardwareAddr{0x02, 0, 0, 0, 0, 0x03}
)

func newLab(t testing.TB) *lab {
	t.Helper()
	quietIPv6()
	l := &lab{t: t, farNS: newNamespace(t)}
	l.addLink()
	t.Cleanup(l.delLink)
	return l
}

// newNamespace makes a network namespace that ends with the test.
func newNamespace(t testing.TB) (fd int) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // and never unlocked: the thread goes with its namespace
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			t.Error(err)
			return
		}
		quietIPv6()
		ns, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Error(err)
			return
		}
		fd = ns
	}()
	<-done
	if t.Failed() {
		t.FailNow()
	}
	t.Cleanup(func() { unix.Close(fd) })
	return fd
}

// quietIPv6 keeps interfaces that are made from now on from sending frames by themselves.
func quietIPv6() {
	_ = os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0)
}

// addLink makes the veth pair, up on both sides.
func (l *lab) addLink() {
	l.t.Helper()
	l.addPair(0)
	waitFor(l.t, "carrier", func() bool {
		k, err := findLink(nearName, 0)
		return err == nil && k != nil && k.up()
	})
}

// addPair makes the veth pair and sets it up on both sides. index is that of up0; 0: any.
func (l *lab) addPair(index int) {
	l.t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.HardwareAddr, attrs.Index = nearName, nearMAC, index
	l.check(netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: farName, PeerHardwareAddr: farMAC}))
	far, err := netlink.LinkByName(farName)
	l.check(err)
	l.check(netlink.LinkSetNsFd(far, l.farNS))
	l.near(netlink.LinkSetUp)
	l.far(netlink.LinkSetUp)
}

func (l *lab) delLink() {
	if link, err := netlink.LinkByName(nearName); err == nil {
		l.check(netlink.LinkDel(link))
	}
}

func (l *lab) check(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// near does something with up0, far with far0 in its namespace.
func (l *lab) near(do func(netlink.Link) error) {
	l.t.Helper()
	link, err := netlink.LinkByName(nearName)
	l.check(err)
	l.check(do(link))
}

func (l *lab) far(do func(netlink.Link) error) {
	l.t.Helper()
	l.inFar(func() error {
		link, err := netlink.LinkByName(farName)
		if err != nil {
			return err
		}
		return do(link)
	})
}

// inFar runs do on a thread in the far namespace.
func (l *lab) inFar(do func() error) {
	l.t.Helper()
	errs := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked
		if err := unix.Setns(l.farNS, unix.CLONE_NEWNET); err != nil {
			errs <- err
			return
		}
		errs <- do()
	}()
	l.check(<-errs)
}

// rawSocket opens a packet socket on an interface of the caller's namespace.
func rawSocket(ifname string, vnetHdr bool) (int, error) {
	k, err := findLink(ifname, 0)
	if err != nil {
		return -1, err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if vnetHdr {
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_VNET_HDR, 1); err != nil {
			return -1, err
		}
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
		return -1, err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1); err != nil {
		return -1, err
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, rcvBuf)
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sndBuf)
	all := binary.BigEndian.AppendUint16(nil, unix.ETH_P_ALL)
	err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: binary.NativeEndian.Uint16(all), Ifindex: k.index})
	if err == nil {
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10})
	}
	return fd, err
}

// A station sends and receives frames on far0 by a packet socket.
type station struct {
	t  testing.TB
	fd int
}

func (l *lab) station(vnetHdr bool) *station {
	l.t.Helper()
	s := &station{t: l.t}
	l.inFar(func() (err error) {
		s.fd, err = rawSocket(farName, vnetHdr)
		return err
	})
	l.t.Cleanup(func() { unix.Close(s.fd) })
	return s
}

func (s *station) send(frame []byte) {
	s.t.Helper()
	if _, err := unix.Write(s.fd, frame); err != nil {
		s.t.Fatalf("sending %d bytes: %v", len(frame), err)
	}
}

// receive returns the next frame (with its vnet header, if the socket has that), with the VLAN tag
// that the kernel took out put back.
func (s *station) receive() []byte {
	s.t.Helper()
	buf, oob := make([]byte, 1<<17), make([]byte, 128)
	n, oobn, _, _, err := unix.Recvmsg(s.fd, buf, oob, 0)
	for err == unix.EINTR { // a socket with a timeout is not restarted
		n, oobn, _, _, err = unix.Recvmsg(s.fd, buf, oob, 0)
	}
	if err != nil {
		s.t.Fatalf("receiving: %v", err)
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil || len(msgs) != 1 {
		s.t.Fatalf("auxiliary data: %v, %v", msgs, err)
	}
	aux := msgs[0].Data // struct tpacket_auxdata: status u32 at 0, tci u16 at 16, tpid u16 at 18
	if binary.NativeEndian.Uint32(aux)&unix.TP_STATUS_VLAN_VALID != 0 {
		tag := binary.BigEndian.AppendUint16(nil, binary.NativeEndian.Uint16(aux[18:]))
		tag = binary.BigEndian.AppendUint16(tag, binary.NativeEndian.Uint16(aux[16:]))
		return append(append(append([]byte(nil), buf[:12]...), tag...), buf[12:n]...)
	}
	return buf[:n]
}

// A got is a frame that an uplink delivered.
type got struct {
	data    []byte
	offload vswitch.Offload
	head    int // bytes of it in Head
}

// A rig is an uplink with doubles for the switch and the worker.
type rig struct {
	t        testing.TB
	u        *Uplink
	counters vswitch.Counters
	log      logbuf.Buffer

	mu     sync.Mutex
	frames []got
	ups    []bool
	polls  atomic.Int64
	pumps  map[worker.Source]*pump
}

func newRig(t testing.TB, change func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, pumps: make(map[worker.Source]*pump)}
	cfg := Config{
		Name:        "lan",
		Interface:   nearName,
		Promiscuous: true,
		Counters:    &r.counters,
		Logger:      hclog.New(&hclog.LoggerOptions{Output: &r.log, Level: hclog.Info}),
		Deliver:     r.deliver,
		SetUp:       r.setUp,
		Start:       r.start,
		Stop:        r.stop,
	}
	if change != nil {
		change(&cfg)
	}
	u, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r.u = u
	t.Cleanup(func() { u.Close() })
	return r
}

// begin starts the uplink and waits for its interface.
func begin(t testing.TB, change func(*Config)) *rig {
	t.Helper()
	r := newRig(t, change)
	r.u.Begin()
	r.waitUp(true)
	return r
}

// logged returns how often the log contains a text.
func (r *rig) logged(text string) int { return strings.Count(r.log.String(), text) }

func (r *rig) deliver(frames []vswitch.Frame) {
	if len(frames) == 0 || len(frames) > vswitch.MaxBatch {
		r.t.Errorf("Deliver of %d frames", len(frames))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range frames {
		f := &frames[i]
		if err := checkFrame(f); err != nil {
			r.t.Error(err)
		}
		r.frames = append(r.frames, got{flatten(f), f.Offload, len(f.Head)})
	}
}

// checkFrame checks what package vswitch requires of a source's frames.
func checkFrame(f *vswitch.Frame) error {
	total := len(f.Head)
	for _, b := range f.Body {
		total += len(b)
	}
	o := f.Offload
	switch {
	case total != f.Len:
		return fmt.Errorf("Len is %d, the pieces are %d", f.Len, total)
	case len(f.Head) < min(f.Len, vswitch.HeadLen):
		return fmt.Errorf("Head of a frame of %d bytes has %d", f.Len, len(f.Head))
	case len(f.Room) < vswitch.Headroom+len(f.Head) || &f.Room[vswitch.Headroom] != &f.Head[0]:
		return fmt.Errorf("Head does not begin at Room[%d]", vswitch.Headroom)
	case o.Flags&vswitch.HdrNeedsCsum != 0 && int(o.CsumStart)+int(o.CsumOffset)+2 > len(f.Head):
		return fmt.Errorf("checksum field of %+v lies behind Head's %d bytes", o, len(f.Head))
	}
	return nil
}

func flatten(f *vswitch.Frame) []byte {
	b := append([]byte(nil), f.Head...)
	for _, piece := range f.Body {
		b = append(b, piece...)
	}
	return b
}

// transmit sends frames by the uplink, and counts what it refuses, as the switch does.
func (r *rig) transmit(frames ...*vswitch.Frame) (sent int) {
	sent, _ = vswitchtest.Transmit(r.u.Transmit, &r.counters, frames...)
	return sent
}

// refuses sends frames by the uplink, and checks for which reasons it refuses them; "" means that
// it accepts one.
func (r *rig) refuses(frames []*vswitch.Frame, want ...string) {
	r.t.Helper()
	_, refusals := vswitchtest.Transmit(r.u.Transmit, &r.counters, frames...)
	if d := cmp.Diff(want, refusals); d != "" {
		r.t.Errorf("refused (-want +got):\n%s", d)
	}
}

func (r *rig) setUp(up bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ups = append(r.ups, up)
}

func (r *rig) waitUp(up bool) {
	r.t.Helper()
	waitFor(r.t, fmt.Sprintf("SetUp(%v)", up), func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.ups) > 0 && r.ups[len(r.ups)-1] == up
	})
}

// take waits for n test frames and returns them, leaving none.
func (r *rig) take(n int) []got {
	r.t.Helper()
	var out []got
	waitFor(r.t, fmt.Sprintf("%d frames", n), func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		out = append(out, r.frames...)
		r.frames = nil
		return len(out) >= n
	})
	if len(out) != n {
		r.t.Fatalf("got %d frames, want %d", len(out), n)
	}
	return out
}

func (r *rig) start(s worker.Source) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p := newPump(r.t, s, &r.polls)
	r.pumps[s] = p
	go p.run()
}

func (r *rig) stop(s worker.Source) {
	r.mu.Lock()
	p := r.pumps[s]
	delete(r.pumps, s)
	r.mu.Unlock()
	if p == nil {
		r.t.Error("Stop of a Source that was not started")
		return
	}
	p.stop()
}

// A pump is the worker's double: it sleeps in epoll, edge-triggered, and polls.
type pump struct {
	t        testing.TB
	s        worker.Source
	polls    *atomic.Int64
	ep, wake int
	quit     atomic.Bool
	done     chan struct{}
}

func newPump(t testing.TB, s worker.Source, polls *atomic.Int64) *pump {
	t.Helper()
	p := &pump{t: t, s: s, polls: polls, done: make(chan struct{})}
	var err error
	if p.ep, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	if p.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		t.Fatal(err)
	}
	for _, fd := range []int{p.wake, s.FD()} {
		ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET&0xffffffff, Fd: int32(fd)}
		if err := unix.EpollCtl(p.ep, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
			t.Fatal(err)
		}
	}
	return p
}

func (p *pump) run() {
	defer close(p.done)
	events := make([]unix.EpollEvent, 4)
	for !p.quit.Load() {
		p.s.Disarm()
		for p.s.Poll() > 0 {
			p.polls.Add(1)
		}
		p.polls.Add(1)
		if p.s.Arm() {
			continue
		}
		_, _ = unix.EpollWait(p.ep, events, -1)
	}
}

func (p *pump) stop() {
	p.quit.Store(true)
	_, _ = unix.Write(p.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	<-p.done
	unix.Close(p.ep)
	unix.Close(p.wake)
}

// waitFor waits until cond holds.
func waitFor(t testing.TB, what string, cond func() bool) {
	t.Helper()
	if !eventually(cond) {
		t.Fatalf("waited in vain for %s", what)
	}
}

// eventually waits until cond returns true, and reports whether that has happened in time.
func eventually(cond func() bool) bool {
	for deadline := time.Now().Add(20 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}
