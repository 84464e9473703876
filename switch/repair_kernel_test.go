//go:build e2e

package vswitch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// The Linux kernel as the reference for repair. A frame with a virtio-net header is written to a
// TAP device. A bridge forwards the frame to a veth without any offloads, so that the kernel has to
// do everything that the header requests. The frames that arrive at the veth's peer, in another
// namespace, must be the same as those that repair makes from the same frame, byte for byte.
//
// Needs root. Run it with: go test -tags e2e -run Kernel ./switch

func TestRepairAgreesWithTheKernel(t *testing.T) {
	l := newKernelLab(t)
	for kind := range numKinds {
		for _, v6 := range []bool{false, true} {
			for tags := range 3 {
				s := packetShape{kind: kind, v6: v6, tags: tags, extensions: true, maxPayload: 65535, maxGSO: 8800}
				if kind == kindTCPCsum || kind == kindUDPCsum {
					s.maxPayload = 8800
				}
				if kind == kindUSO {
					s.maxSegments = maxUSOSegments
				}
				if kind == kindUFO && v6 {
					// Linux includes extension headers in each fragment's offset, and such
					// fragments cannot be reassembled.
					s.extensions = false
				}
				t.Run(s.String(), func(t *testing.T) {
					stayOnOneCPU(t)
					packets, frames := 0, 0
					rnd := newTestRand(100 + uint64(kind))
					for range 100 {
						p := randomPacket(rnd, s)
						if kernelDrops(p) {
							continue
						}
						f := p.frame(rnd)
						if !checkOffload(f) {
							t.Fatalf("refused: %+v", p.offload)
						}
						port := new(repairPort)
						new(repairer).transmit(port, []*Frame{f})
						var want [][]byte
						for _, b := range l.kernel(t, p) {
							b, _ = clearFragmentID(b)
							want = append(want, b)
						}
						compareFrames(t, port.frames, want, s)
						packets++
						frames += len(want)
					}
					t.Logf("%d packets became %d frames", packets, frames)
					if packets < 90 {
						t.Errorf("only %d packets", packets)
					}
				})
			}
		}
	}
}

// kernelDrops reports whether p is a TCP packet that only fits into one segment because TCP options
// count as payload. Linux begins to segment such a packet, and then drops it.
func kernelDrops(p *testPacket) bool {
	size := int(p.offload.GSOSize)
	return p.tcp && size != 0 && len(p.data)-p.end <= size && len(p.data)-p.l4-tcpLen > size
}

// kernelLabMTU is enough for the longest segment above.
const kernelLabMTU = 9216

// etherMarker is the EtherType of the frame that ends a sequence of frames (IEEE 802, local
// experimental EtherType 1).
const etherMarker = 0x88b5

// A kernelLab is two namespaces: one with a TAP device, a bridge and a veth without offloads, the
// other with the veth's peer.
type kernelLab struct {
	tap  int // file descriptors
	peer int
	sent uint32 // markers so far
}

// newKernelLab builds a lab that ends with the test.
func newKernelLab(t *testing.T) *kernelLab {
	t.Helper()
	stayOnOneCPU(t)
	far, err := netns.New()
	must(t, "make a namespace", err)
	l := &kernelLab{peer: -1}
	near, err := netns.New()
	must(t, "make a namespace", err)
	t.Cleanup(func() { _ = near.Close() })
	t.Cleanup(func() { _ = far.Close() })
	quietNamespace(t)

	l.tap = openTap(t, "tap0")
	must(t, "add veth", netlink.LinkAdd(&netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: "out", MTU: kernelLabMTU}, PeerName: "in", PeerNamespace: netlink.NsFd(far), PeerMTU: kernelLabMTU,
	}))
	must(t, "turn off offloads", turnOffOffloads("out"))
	must(t, "add bridge", netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}))
	bridge, err := netlink.LinkByName("br0")
	must(t, "find bridge", err)
	for _, name := range []string{"tap0", "out"} {
		link, err := netlink.LinkByName(name)
		must(t, "find "+name, err)
		must(t, "set MTU of "+name, netlink.LinkSetMTU(link, kernelLabMTU))
		must(t, "add to bridge: "+name, netlink.LinkSetMaster(link, bridge))
		must(t, "set up "+name, netlink.LinkSetUp(link))
	}
	must(t, "set MTU of bridge", netlink.LinkSetMTU(bridge, kernelLabMTU))
	must(t, "set up bridge", netlink.LinkSetUp(bridge))

	must(t, "enter namespace", netns.Set(far))
	quietNamespace(t)
	link, err := netlink.LinkByName("in")
	must(t, "find in", err)
	must(t, "set up in", netlink.LinkSetUp(link))
	l.peer = openPeer(t, link.Attrs().Index)
	must(t, "enter namespace", netns.Set(near))
	l.waitUntilForwarding(t)
	return l
}

// stayOnOneCPU locks the goroutine to a thread, and the thread to a CPU, which is the same for all
// callers: the kernel keeps frames in order only on one CPU. The thread is never unlocked, so it
// ends with the goroutine, and the namespaces that it has entered end with the last thread in them.
func stayOnOneCPU(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	var allowed, one unix.CPUSet
	must(t, "get CPUs", unix.SchedGetaffinity(os.Getpid(), &allowed))
	cpu := 0
	for !allowed.IsSet(cpu) {
		cpu++
	}
	one.Set(cpu)
	must(t, "bind to CPU", unix.SchedSetaffinity(0, &one))
}

func must(t *testing.T, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// quietNamespace turns off IPv6, which otherwise sends frames on every interface that comes up.
func quietNamespace(t *testing.T) {
	t.Helper()
	for _, which := range []string{"all", "default"} {
		must(t, "disable IPv6", os.WriteFile("/proc/sys/net/ipv6/conf/"+which+"/disable_ipv6", []byte("1"), 0))
	}
}

func openTap(t *testing.T, name string) int {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	must(t, "open TAP", err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	ifr, err := unix.NewIfreq(name)
	must(t, "name TAP", err)
	ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	must(t, "set up TAP", unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr))
	return fd
}

func htons(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}

// openPeer opens a socket that receives all frames of an interface, with a timeout of 5 seconds.
func openPeer(t *testing.T, index int) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	must(t, "open packet socket", err)
	t.Cleanup(func() { _ = unix.Close(fd) })
	must(t, "set buffer", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 64<<20))
	must(t, "ask for tags", unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1))
	must(t, "set time limit", unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}))
	must(t, "bind packet socket", unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: index}))
	return fd
}

// waitUntilForwarding sends markers until one gets through.
func (l *kernelLab) waitUntilForwarding(t *testing.T) {
	t.Helper()
	must(t, "set time limit", unix.SetsockoptTimeval(l.peer, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50000}))
	for deadline := time.Now().Add(10 * time.Second); ; {
		l.mark(t)
		b, err := receiveTagged(l.peer)
		if err == nil && binary.BigEndian.Uint16(b[12:]) == etherMarker {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the bridge does not forward: %v", err)
		}
	}
	must(t, "set time limit", unix.SetsockoptTimeval(l.peer, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}))
}

// kernel returns the frames that the kernel makes from p.
func (l *kernelLab) kernel(t *testing.T, p *testPacket) (frames [][]byte) {
	t.Helper()
	must(t, fmt.Sprintf("write frame with %+v", p.offload), l.write(p.offload, p.data))
	marker := l.mark(t)
	for {
		b, err := receiveTagged(l.peer)
		must(t, fmt.Sprintf("receive, after %d frames", len(frames)), err)
		if !bytes.Equal(b[:12], p.data[:12]) {
			continue // sent by the kernel itself
		}
		if binary.BigEndian.Uint16(b[12:]) != etherMarker {
			frames = append(frames, b)
		} else if binary.BigEndian.Uint32(b[14:]) == marker {
			return frames
		}
	}
}

// mark sends a marker with a new number.
func (l *kernelLab) mark(t *testing.T) uint32 {
	t.Helper()
	l.sent++
	b := []byte{0x02, 0, 0, 0, 0, 0x02, 0x02, 0, 0, 0, 0, 0x01, etherMarker >> 8, etherMarker & 0xff}
	b = binary.BigEndian.AppendUint32(b, l.sent)
	must(t, "write marker", l.write(Offload{}, append(b, make([]byte, 46)...)))
	return l.sent
}

func (l *kernelLab) write(o Offload, frame []byte) error {
	b := []byte{o.Flags, o.GSOType}
	for _, v := range []uint16{o.HdrLen, o.GSOSize, o.CsumStart, o.CsumOffset} {
		b = binary.NativeEndian.AppendUint16(b, v)
	}
	_, err := unix.Write(l.tap, append(b, frame...))
	return err
}

// receiveTagged returns the next frame of a socket that openPeer has opened, with the tag that the
// kernel has removed restored.
func receiveTagged(peer int) ([]byte, error) {
	b := make([]byte, 1<<17)
	oob := make([]byte, 128)
	n, oobn, _, _, err := unix.Recvmsg(peer, b, oob, 0)
	if err != nil {
		return nil, err
	}
	b = b[:n]
	messages, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return nil, err
	}
	for _, m := range messages {
		if m.Header.Level != unix.SOL_PACKET || m.Header.Type != unix.PACKET_AUXDATA {
			continue
		}
		// struct tpacket_auxdata: status, len, snaplen, mac, net, vlan_tci, vlan_tpid
		status := binary.NativeEndian.Uint32(m.Data)
		if status&unix.TP_STATUS_CSUMNOTREADY != 0 {
			return nil, fmt.Errorf("the kernel has left a checksum to do")
		}
		if status&unix.TP_STATUS_VLAN_VALID == 0 {
			continue
		}
		var tag []byte
		tag = binary.BigEndian.AppendUint16(tag, binary.NativeEndian.Uint16(m.Data[18:]))
		tag = binary.BigEndian.AppendUint16(tag, binary.NativeEndian.Uint16(m.Data[16:]))
		b = append(b[:12:12], append(tag, b[12:]...)...)
	}
	return b, nil
}
