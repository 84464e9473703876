package daemon

import (
	"bytes"
	"net"
	"os"
	"time"

	"github.com/mdlayher/packet"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	vswitch "vswitchd/switch"
)

// A wire is the far end of an uplink's interface, with a packet socket on it.
type wire struct {
	*lab
	conn *packet.Conn
}

// addWire makes a pair of interfaces; near is for an uplink. Only the test sends frames on the
// pair, because IPv6 is disabled.
func (l *lab) addWire(near, far string) *wire {
	l.Helper()
	l.makeVeth(near, far)
	for _, n := range []string{near, far} {
		_ = os.WriteFile("/proc/sys/net/ipv6/conf/"+n+"/disable_ipv6", []byte("1"), 0)
		l.must(netlink.LinkSetUp(l.link(n)))
	}
	return l.listen(far)
}

func (l *lab) listen(name string) *wire {
	l.Helper()
	nic, err := net.InterfaceByName(name)
	if err != nil {
		l.Fatal(err)
	}
	conn, err := packet.Listen(nic, packet.Raw, unix.ETH_P_ALL, nil)
	if err == nil {
		err = conn.SetPromiscuous(true)
	}
	if err != nil {
		l.Fatal(err)
	}
	l.Cleanup(func() { conn.Close() })
	return &wire{l, conn}
}

func (w *wire) send(frame []byte) {
	w.Helper()
	if _, err := w.conn.WriteTo(frame, &packet.Addr{HardwareAddr: frame[:6]}); err != nil {
		w.Fatal(err)
	}
}

// probes is the destination of the probes by which the switch finds loops.
var probes = vswitch.MAC{0x03, 0x76, 0x73, 0x70, 0x6c, 0x70}

// gets waits for a frame and returns the other frames that arrive before it, without probes.
func (w *wire) gets(frame []byte) (others [][]byte) {
	w.Helper()
	buf := make([]byte, 1<<16)
	w.must(w.conn.SetReadDeadline(time.Now().Add(30 * time.Second)))
	for {
		n, _, err := w.conn.ReadFrom(buf)
		if err != nil {
			w.Fatalf("waiting for frame %x: %v; others %x", frame, err, others)
		}
		if bytes.Equal(buf[:n], frame) {
			return others
		}
		if !bytes.HasPrefix(buf[:n], probes[:]) {
			others = append(others, bytes.Clone(buf[:n]))
		}
	}
}

// frame makes a frame of 60 bytes. Tests identify a frame by its payload.
func frame(dst, src vswitch.MAC, etype uint16, payload string) []byte {
	f := append(append([]byte{}, dst[:]...), src[:]...)
	f = append(append(f, byte(etype>>8), byte(etype)), payload...)
	return append(f, make([]byte, 60-len(f))...)
}

const etypeExperimental = 0x88b5
