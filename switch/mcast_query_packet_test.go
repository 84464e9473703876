package vswitch_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	vswitch "vswitchd/switch"
)

// queriesTo returns the queries among the frames that port name was sent since the last call, as
// gopacket reads them, separated by commas. Frames that the switch has only forwarded are left out.
func (l *lab) queriesTo(name string) string {
	l.t.Helper()
	var list []string
	for _, s := range l.ports[name].Take() {
		if vswitch.MAC(s.Bytes[6:]) != own {
			continue
		}
		list = append(list, describeQuery(l.t, s.Bytes))
	}
	return strings.Join(list, ", ")
}

// describeQuery describes a query, and checks what all queries have in common.
func describeQuery(t testing.TB, b []byte) string {
	t.Helper()
	p := gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default)
	if e := p.ErrorLayer(); e != nil {
		t.Fatalf("%x: %v", b, e.Error())
	}
	vlan := ""
	if q, ok := p.Layer(layers.LayerTypeDot1Q).(*layers.Dot1Q); ok {
		vlan = fmt.Sprintf(" vlan %d", q.VLANIdentifier)
	}
	eth := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	var what, from, to string
	switch ip := p.NetworkLayer().(type) {
	case *layers.IPv4:
		from, to = ip.SrcIP.String(), ip.DstIP.String()
		if ip.TTL != 1 || ip.TOS != 0xc0 || len(ip.Options) != 1 || ip.Options[0].OptionType != 0x94 || onesSum(ip.Contents...) != 0 {
			t.Errorf("IPv4 header: %+v", ip)
		}
		if want := []byte{1, 0, 0x5e, ip.DstIP[1] & 0x7f, ip.DstIP[2], ip.DstIP[3]}; !slices.Equal(eth.DstMAC, want) {
			t.Errorf("sent to %v, want %x", eth.DstMAC, want)
		}
		what = describeIGMP(t, p, ip.Payload)
	case *layers.IPv6:
		from, to = ip.SrcIP.String(), ip.DstIP.String()
		alert := ip.HopByHop.Options[0]
		if ip.HopLimit != 1 || alert.OptionType != 5 || !slices.Equal(alert.OptionData, []byte{0, 0}) {
			t.Errorf("IPv6 header: %+v, %+v", ip, alert)
		}
		if want := append([]byte{0x33, 0x33}, ip.DstIP[12:]...); !slices.Equal(eth.DstMAC, want) {
			t.Errorf("sent to %v, want %x", eth.DstMAC, want)
		}
		msg := b[len(b)-int(ip.Length)+8:]
		pseudo := slices.Concat([]byte(ip.SrcIP), ip.DstIP, []byte{0, 0, 0, byte(len(msg)), 0, 0, 0, 58}, msg)
		if onesSum(pseudo...) != 0 {
			t.Errorf("the checksum of %x is wrong", msg)
		}
		what = describeMLD(t, p, len(msg))
	default:
		t.Fatalf("no query: %v", p)
	}
	return fmt.Sprintf("%s %s > %s%s", what, from, to, vlan)
}

func describeIGMP(t testing.TB, p gopacket.Packet, msg []byte) string {
	if onesSum(msg...) != 0 {
		t.Errorf("the checksum of %x is wrong", msg)
	}
	switch q := p.Layer(layers.LayerTypeIGMP).(type) {
	case *layers.IGMPv1or2:
		return fmt.Sprintf("IGMPv2 %v for %v", q.GroupAddress, q.MaxResponseTime)
	case *layers.IGMP:
		if q.RobustnessValue != 2 || q.IntervalTime.Seconds() != 12.5 { // gopacket takes it for tenths
			t.Errorf("%+v", q)
		}
		return fmt.Sprintf("IGMPv3 %v%v for %v", q.GroupAddress, q.SourceAddresses, q.MaxResponseTime)
	}
	t.Fatalf("no IGMP: %v", p)
	return ""
}

func describeMLD(t testing.TB, p gopacket.Packet, length int) string {
	if q, ok := p.Layer(layers.LayerTypeMLDv2MulticastListenerQuery).(*layers.MLDv2MulticastListenerQueryMessage); ok {
		if q.QueriersRobustnessVariable != 2 || q.QueriersQueryIntervalCode != 125 {
			t.Errorf("%+v", q)
		}
		return fmt.Sprintf("MLDv2 %v%v for %d ms", q.MulticastAddress, q.SourceAddresses, q.MaximumResponseCode)
	}
	q, ok := p.Layer(layers.LayerTypeMLDv1MulticastListenerQuery).(*layers.MLDv1MulticastListenerQueryMessage)
	if !ok || length != 24 {
		t.Fatalf("no MLD query of %d bytes: %v", length, p)
	}
	return fmt.Sprintf("MLDv1 %v for %v", q.MulticastAddress, q.MaximumResponseDelay)
}
