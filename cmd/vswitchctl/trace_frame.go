package main

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/spf13/pflag"
)

// frameFields are the fields of a frame on the command line.
type frameFields struct {
	src, dst     string // MAC addresses
	vlan         int
	etherType    string
	srcIP, dstIP string
	proto        string
	sport, dport uint16
}

// fieldFlags are the flags of the fields.
var fieldFlags = []string{"src", "dst", "vlan", "ethertype", "ip-src", "ip-dst", "proto", "sport", "dport"}

func (f *frameFields) flags(flags *pflag.FlagSet) {
	flags.StringVar(&f.src, "src", "02:00:00:00:00:01", "source `MAC` address")
	flags.StringVar(&f.dst, "dst", "ff:ff:ff:ff:ff:ff", "destination `MAC` address")
	flags.IntVar(&f.vlan, "vlan", -1, "VLAN `id` of a tag, 0 to 4095; none if it is left out")
	flags.StringVar(&f.etherType, "ethertype", "", "`type` of the packet, such as 0x0806; that of the IP addresses if it is left out")
	flags.StringVar(&f.srcIP, "ip-src", "", "source `IP` address")
	flags.StringVar(&f.dstIP, "ip-dst", "", "destination `IP` address")
	flags.StringVar(&f.proto, "proto", "", "`protocol`: tcp, udp, icmp, icmpv6 or a number")
	flags.Uint16Var(&f.sport, "sport", 0, "source `port` of TCP or UDP")
	flags.Uint16Var(&f.dport, "dport", 0, "destination `port` of TCP or UDP")
}

// given returns the name of a field that is on the command line, or "".
func (f *frameFields) given(flags *pflag.FlagSet) string {
	for _, name := range fieldFlags {
		if flags.Changed(name) {
			return name
		}
	}
	return ""
}

// protocols are the names of --proto.
var protocols = map[string]layers.IPProtocol{
	"tcp": layers.IPProtocolTCP, "udp": layers.IPProtocolUDP, "icmp": layers.IPProtocolICMPv4, "icmpv6": layers.IPProtocolICMPv6,
}

// build makes a frame with these fields.
func (f *frameFields) build() ([]byte, error) {
	eth, list, err := f.ethernet()
	if err != nil {
		return nil, err
	}
	packet, etherType, err := f.packet()
	if err != nil {
		return nil, err
	}
	if f.etherType != "" {
		n, err := strconv.ParseUint(f.etherType, 0, 16)
		if err != nil {
			return nil, fmt.Errorf("--ethertype: %q is no number such as 0x0806", f.etherType)
		}
		etherType = layers.EthernetType(n)
	}
	if len(list) > 1 {
		eth.EthernetType = layers.EthernetTypeDot1Q
		list[1].(*layers.Dot1Q).Type = etherType
	} else {
		eth.EthernetType = etherType
	}
	b := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(b, options, append(list, packet...)...); err != nil {
		return nil, fmt.Errorf("making the frame: %w", err)
	}
	return b.Bytes(), nil
}

// ethernet makes the Ethernet header and the tag.
func (f *frameFields) ethernet() (*layers.Ethernet, []gopacket.SerializableLayer, error) {
	eth := new(layers.Ethernet)
	for _, a := range []struct {
		flag, text string
		to         *net.HardwareAddr
	}{{"src", f.src, &eth.SrcMAC}, {"dst", f.dst, &eth.DstMAC}} {
		mac, err := net.ParseMAC(a.text)
		if err != nil || len(mac) != 6 {
			return nil, nil, fmt.Errorf("--%s: %q is no MAC address", a.flag, a.text)
		}
		*a.to = mac
	}
	list := []gopacket.SerializableLayer{eth}
	switch {
	case f.vlan < -1 || f.vlan > 4095:
		return nil, nil, fmt.Errorf("--vlan: is %d, must be from 0 to 4095", f.vlan)
	case f.vlan >= 0:
		list = append(list, &layers.Dot1Q{VLANIdentifier: uint16(f.vlan)})
	}
	return eth, list, nil
}

// packet makes what follows the Ethernet header, and returns its type: that of local experiments
// without IP addresses.
func (f *frameFields) packet() ([]gopacket.SerializableLayer, layers.EthernetType, error) {
	if f.srcIP == "" && f.dstIP == "" {
		if f.proto != "" || f.sport != 0 || f.dport != 0 {
			return nil, 0, fmt.Errorf("--proto, --sport and --dport need --ip-src and --ip-dst")
		}
		return []gopacket.SerializableLayer{gopacket.Payload(make([]byte, 46))}, 0x88b5, nil
	}
	src, err := netip.ParseAddr(f.srcIP)
	if err != nil {
		return nil, 0, fmt.Errorf("--ip-src: %q is no IP address", f.srcIP)
	}
	dst, err := netip.ParseAddr(f.dstIP)
	if err != nil || src.Is4() != dst.Is4() {
		return nil, 0, fmt.Errorf("--ip-dst: %q is no IP address of the version of --ip-src", f.dstIP)
	}
	proto, err := f.protocol()
	if err != nil {
		return nil, 0, err
	}
	if src.Is4() {
		ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: proto, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
		return f.transport(proto, ip, ip), layers.EthernetTypeIPv4, nil
	}
	ip := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: proto, SrcIP: src.AsSlice(), DstIP: dst.AsSlice()}
	return f.transport(proto, ip, ip), layers.EthernetTypeIPv6, nil
}

func (f *frameFields) protocol() (layers.IPProtocol, error) {
	if p, ok := protocols[f.proto]; ok {
		return p, nil
	}
	if f.proto == "" {
		if f.sport != 0 || f.dport != 0 {
			return layers.IPProtocolTCP, nil
		}
		return layers.IPProtocolNoNextHeader, nil
	}
	n, err := strconv.ParseUint(f.proto, 10, 8)
	if err != nil {
		return 0, fmt.Errorf("--proto: %q is neither tcp, udp, icmp or icmpv6, nor a number", f.proto)
	}
	return layers.IPProtocol(n), nil
}

// transport makes an IP packet.
func (f *frameFields) transport(proto layers.IPProtocol, ip gopacket.SerializableLayer, network gopacket.NetworkLayer) []gopacket.SerializableLayer {
	list := []gopacket.SerializableLayer{ip}
	switch proto {
	case layers.IPProtocolTCP:
		t := &layers.TCP{SrcPort: layers.TCPPort(f.sport), DstPort: layers.TCPPort(f.dport), SYN: true, Window: 65535}
		_ = t.SetNetworkLayerForChecksum(network) // of IP: no error
		return append(list, t)
	case layers.IPProtocolUDP:
		u := &layers.UDP{SrcPort: layers.UDPPort(f.sport), DstPort: layers.UDPPort(f.dport)}
		_ = u.SetNetworkLayerForChecksum(network)
		return append(list, u, gopacket.Payload(make([]byte, 18)))
	case layers.IPProtocolICMPv4:
		return append(list, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0)})
	case layers.IPProtocolICMPv6:
		i := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypeEchoRequest, 0)}
		_ = i.SetNetworkLayerForChecksum(network)
		return append(list, i, &layers.ICMPv6Echo{})
	}
	return append(list, gopacket.Payload(make([]byte, 26)))
}
