//go:build e2e

package e2e

import (
	"encoding/binary"
	"errors"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"vswitchd/test/swtest"
)

// answerVLAN answers ARP requests and echo requests for an address in one VLAN on an interface,
// tagged, until the test ends. It stands in for a VLAN device, which not every kernel has.
func answerVLAN(t *testing.T, ns *swtest.Netns, iface string, vlan uint16, ip net.IP) {
	t.Helper()
	fd, mac := packetSocket(t, ns, iface)
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		buf, oob := make([]byte, 65536), make([]byte, 256)
		for {
			select {
			case <-stop:
				return
			default:
			}
			n, oobn, _, _, err := unix.Recvmsg(fd, buf, oob, 0)
			if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
				continue
			}
			if err != nil {
				continue // the interface is down
			}
			if tag, ok := tagOf(oob[:oobn]); ok && tag == vlan {
				if reply := replyTo(buf[:n], vlan, mac, ip.To4()); reply != nil {
					_ = unix.Send(fd, reply, 0)
				}
			}
		}
	}()
	t.Cleanup(func() {
		close(stop)
		<-done
		unix.Close(fd)
	})
}

// packetSocket opens a raw socket with auxiliary data on an interface in a namespace.
func packetSocket(t *testing.T, ns *swtest.Netns, iface string) (fd int, mac net.HardwareAddr) {
	t.Helper()
	runtime.LockOSThread() // the thread changes its namespace
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	target, err := netns.GetFromName(ns.Name)
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	if err := netns.Set(target); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := netns.Set(home); err != nil {
			t.Fatal(err)
		}
	}()
	ifi, err := net.InterfaceByName(iface)
	if err != nil {
		t.Fatal(err)
	}
	all := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, unix.ETH_P_ALL))
	fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(all))
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: all, Ifindex: ifi.Index})
	}
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1)
	}
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1)
	}
	if err == nil {
		// So that the reader sees that it is to stop.
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: int64(100 * time.Millisecond / time.Microsecond)})
	}
	if err != nil {
		t.Fatal(err)
	}
	return fd, ifi.HardwareAddr
}

// tagOf reads the VLAN out of a struct tpacket_auxdata (packet(7)).
func tagOf(oob []byte) (vlan uint16, ok bool) {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0, false
	}
	for _, m := range msgs {
		if m.Header.Level == unix.SOL_PACKET && m.Header.Type == unix.PACKET_AUXDATA && len(m.Data) >= 20 {
			status := binary.NativeEndian.Uint32(m.Data)
			return binary.NativeEndian.Uint16(m.Data[16:]) & 0xfff, status&unix.TP_STATUS_VLAN_VALID != 0
		}
	}
	return 0, false
}

// replyTo makes the tagged answer to an ARP request or an echo request for ip, or nil.
func replyTo(frame []byte, vlan uint16, mac net.HardwareAddr, ip net.IP) []byte {
	p := gopacket.NewPacket(frame, layers.LayerTypeEthernet, gopacket.Default)
	eth, _ := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	if eth == nil {
		return nil
	}
	out := []gopacket.SerializableLayer{
		&layers.Ethernet{SrcMAC: mac, DstMAC: eth.SrcMAC, EthernetType: layers.EthernetTypeDot1Q},
	}
	tag := &layers.Dot1Q{VLANIdentifier: vlan, Type: layers.EthernetTypeIPv4}
	if arp, _ := p.Layer(layers.LayerTypeARP).(*layers.ARP); arp != nil {
		if arp.Operation != layers.ARPRequest || !ip.Equal(arp.DstProtAddress) {
			return nil
		}
		tag.Type = layers.EthernetTypeARP
		out = append(out, tag, &layers.ARP{
			AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4,
			Operation:       layers.ARPReply,
			SourceHwAddress: mac, SourceProtAddress: ip,
			DstHwAddress: arp.SourceHwAddress, DstProtAddress: arp.SourceProtAddress,
		})
	} else {
		v4, _ := p.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
		icmp, _ := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
		if v4 == nil || icmp == nil || icmp.TypeCode.Type() != layers.ICMPv4TypeEchoRequest || !v4.DstIP.Equal(ip) {
			return nil
		}
		out = append(out, tag,
			&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4, SrcIP: ip, DstIP: v4.SrcIP},
			&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoReply, 0), Id: icmp.Id, Seq: icmp.Seq},
			gopacket.Payload(icmp.Payload))
	}
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, out...); err != nil {
		return nil
	}
	return b.Bytes()
}
