package uplink

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// A tunnelEnd is one of two namespaces with a veth to this one, and a VXLAN device upon that.
type tunnelEnd struct {
	lab
	near string // the veth's end here
	n    byte   // 1 or 2: the last number of addresses
}

func newTunnelEnd(t *testing.T, near string, n byte) *tunnelEnd {
	t.Helper()
	quietIPv6()
	e := &tunnelEnd{lab{t, newNamespace(t)}, near, n}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = near
	e.check(netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: farName, PeerNamespace: netlink.NsFd(e.farNS)}))
	link, err := netlink.LinkByName(near)
	e.check(err)
	e.check(netlink.LinkSetUp(link))
	t.Cleanup(func() { _ = netlink.LinkDel(link) })
	return e
}

// address gives an interface of the namespace an address.
func address(link netlink.Link, cidr string) error {
	a, err := netlink.ParseAddr(cidr)
	if err != nil {
		return err
	}
	a.Flags = unix.IFA_F_NODAD
	return netlink.AddrAdd(link, a)
}

// tunnel makes the VXLAN device, over IPv4 or IPv6, with checksums of the outer UDP header or
// without.
func (e *tunnelEnd) tunnel(v6, csum bool) {
	e.t.Helper()
	underlay := func(n byte) net.IP { return net.IPv4(10, 9, 0, n) }
	if v6 {
		underlay = func(n byte) net.IP { return net.ParseIP(fmt.Sprintf("fd09::%d", n)) }
	}
	e.inFar(func() error {
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("0"), 0); err != nil {
			return err
		}
		if err := os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("0"), 0); err != nil {
			return err
		}
		far, err := netlink.LinkByName(farName)
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(far); err != nil {
			return err
		}
		bits := 24
		if v6 {
			bits = 64
		}
		if err := address(far, fmt.Sprintf("%s/%d", underlay(e.n), bits)); err != nil {
			return err
		}
		// Package netlink cannot turn off the checksum over IPv4.
		args := []string{"link", "add", "vx0", "type", "vxlan", "id", "5", "dstport", "4789", "dev", farName,
			"local", underlay(e.n).String(), "remote", underlay(3 - e.n).String()}
		for _, option := range []string{"udpcsum", "udp6zerocsumtx", "udp6zerocsumrx"} {
			if (option == "udpcsum") != csum {
				option = "no" + option
			}
			args = append(args, option)
		}
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		link, err := netlink.LinkByName("vx0")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetUp(link); err != nil {
			return err
		}
		if err := address(link, fmt.Sprintf("10.8.0.%d/24", e.n)); err != nil {
			return err
		}
		return address(link, fmt.Sprintf("fd08::%d/64", e.n))
	})
}

// stream sends bytes from one end to the other by TCP and checks them.
func stream(t *testing.T, from, to *tunnelEnd, address string, data []byte) {
	t.Helper()
	var ln net.Listener
	to.inFar(func() (err error) {
		ln, err = net.Listen("tcp", net.JoinHostPort(address, "0"))
		return err
	})
	defer ln.Close()
	received := make(chan []byte, 1)
	go func() {
		c, err := ln.Accept()
		if err != nil {
			close(received)
			return
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		b, _ := io.ReadAll(c)
		received <- b
	}()
	from.inFar(func() error {
		c, err := net.DialTimeout("tcp", ln.Addr().String(), 30*time.Second)
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(time.Minute))
		_, err = c.Write(data)
		return err
	})
	if got := <-received; !bytes.Equal(got, data) {
		t.Errorf("%d of %d bytes arrived, or others", len(got), len(data))
	}
}

// datagrams sends large buffers that the kernel cuts into datagrams (UDP_SEGMENT), and checks the
// datagrams that arrive.
func datagrams(t *testing.T, from, to *tunnelEnd, address string, data []byte) {
	t.Helper()
	const size, many = 1200, 40
	var in net.PacketConn
	to.inFar(func() (err error) {
		in, err = net.ListenPacket("udp", net.JoinHostPort(address, "0"))
		return err
	})
	defer in.Close()
	_ = in.(*net.UDPConn).SetReadBuffer(1 << 20)
	var out net.Conn
	from.inFar(func() (err error) {
		out, err = net.Dial("udp", in.LocalAddr().String())
		return err
	})
	defer out.Close()
	raw, err := out.(*net.UDPConn).SyscallConn()
	from.check(err)
	var sockErr error
	from.check(raw.Control(func(fd uintptr) {
		sockErr = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, size)
	}))
	from.check(sockErr)
	buf := make([]byte, 1<<16)
	for round := range 10 {
		burst := data[round : round+size*many-100]
		if _, err := out.Write(burst); err != nil {
			t.Fatal(err)
		}
		// A kernel that decapsulates on several processors may change their order.
		missing := make(map[string]bool)
		for i := 0; i < len(burst); i += size {
			missing[string(burst[i:min(i+size, len(burst))])] = true
		}
		for len(missing) > 0 {
			_ = in.SetReadDeadline(time.Now().Add(30 * time.Second))
			n, _, err := in.ReadFrom(buf)
			if err != nil {
				t.Fatalf("%d datagrams of a burst are missing: %v", len(missing), err)
			}
			if !missing[string(buf[:n])] {
				t.Fatalf("a datagram of %d bytes, which was not sent or came twice", n)
			}
			delete(missing, string(buf[:n]))
		}
	}
}

// A wire is what goes over the veth to a tunnel's end.
type wire struct {
	encapsulated, longest int
	bad                   error
}

// watch looks at all frames that arrive at an end until the returned function is called.
func (e *tunnelEnd) watch(csum bool) (end func() wire) {
	e.t.Helper()
	var fd int
	e.inFar(func() (err error) {
		fd, err = rawSocket(farName, false)
		return err
	})
	quit, done := make(chan struct{}), make(chan wire)
	e.check(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100000}))
	go func() {
		var w wire
		buf := make([]byte, 1<<17)
		for {
			n, err := unix.Read(fd, buf)
			if err == nil {
				w.see(buf[:n], csum)
				continue
			}
			select {
			case <-quit:
				unix.Close(fd)
				done <- w
				return
			default:
			}
		}
	}()
	return func() wire { close(quit); return <-done }
}

// see checks a frame, if it is one of the tunnel.
func (w *wire) see(frame []byte, csum bool) {
	l4, proto := 14+20, byte(0)
	switch binary.BigEndian.Uint16(frame[12:]) {
	case 0x0800:
		proto = frame[14+9]
	case 0x86dd:
		l4, proto = 14+40, frame[14+6]
	}
	if proto != protoUDP || binary.BigEndian.Uint16(frame[l4+2:]) != 4789 {
		return
	}
	w.encapsulated++
	w.longest = max(w.longest, len(frame))
	field := binary.BigEndian.Uint16(frame[l4+6:])
	if err := w.check(frame, l4, field, csum); err != nil && w.bad == nil {
		w.bad = fmt.Errorf("%w in a frame of %d bytes: % x", err, len(frame), frame[:min(len(frame), 110)])
	}
}

func (w *wire) check(frame []byte, l4 int, field uint16, csum bool) error {
	switch {
	case csum != (field != 0):
		return fmt.Errorf("outer checksum %#04x", field)
	case csum:
		if _, err := openIP(frame, 14); err != nil {
			return fmt.Errorf("outer packet: %w", err)
		}
	}
	if int(binary.BigEndian.Uint16(frame[l4+4:])) != len(frame)-l4 {
		return fmt.Errorf("outer UDP length")
	}
	inner := frame[l4+8+8:]
	switch proto := inner[14+9]; {
	case binary.BigEndian.Uint16(inner[12:]) == 0x86dd:
		proto = inner[14+6]
		fallthrough
	case binary.BigEndian.Uint16(inner[12:]) == 0x0800:
		if proto != protoTCP && proto != protoUDP {
			return nil
		}
		if _, err := openIP(inner, 14); err != nil {
			return fmt.Errorf("inner packet: %w", err)
		}
	}
	return nil
}

// TCP and UDP in VXLAN pass between two uplinks as between two ports of a bridge, in frames that
// are right and no longer than the MTU, wherever the kernel leaves the work: the interfaces here
// leave nothing to the other end.
func TestTunnelsThroughUplinks(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 7))
	data := make([]byte, 2<<20)
	for i := range data {
		data[i] = byte(rnd.Uint32())
	}
	for _, v6 := range []bool{false, true} {
		for _, csum := range []bool{false, true} {
			for _, kind := range []string{"bridge", "switch"} {
				t.Run(fmt.Sprintf("IPv6=%v/checksum=%v/%s", v6, csum, kind), func(t *testing.T) {
					a, b := newTunnelEnd(t, nearName, 1), newTunnelEnd(t, "up1", 2)
					ethtool(t, "up1", ethtoolSTSO, 0)
					ethtool(t, "up1", ethtoolSTxCsum, 0)
					a.tunnel(v6, csum)
					b.tunnel(v6, csum)
					drops := func() string { return "" }
					var part func()
					if kind == "bridge" {
						part = joinByBridge(t, nearName, "up1")
					} else {
						_, drops, part = joinBySwitch(t, nearName, "up1")
					}
					defer part()
					end := b.watch(csum)
					for _, address := range []string{"10.8.0.2", "fd08::2"} {
						stream(t, a, b, address, data)
						datagrams(t, a, b, address, data)
					}
					w := end()
					if w.bad != nil || w.longest > 1514 || w.encapsulated == 0 {
						t.Errorf("%d frames of the tunnel, the longest of %d bytes; %v", w.encapsulated, w.longest, w.bad)
					}
					if t.Failed() {
						t.Logf("drops: %s", drops())
					}
				})
			}
		}
	}
}
