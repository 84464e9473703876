//go:build e2e

package e2e

import (
	"net"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// frameOf is a frame of a type that no network stack answers: 0x88B5 and 0x88B6 are for experiments
// (IEEE 802).
func frameOf(t *testing.T, kind layers.EthernetType, from, to string) []byte {
	t.Helper()
	return serialise(t, &layers.Ethernet{SrcMAC: mac(t, from), DstMAC: mac(t, to), EthernetType: kind}, gopacket.Payload(make([]byte, 100)))
}

func serialise(t *testing.T, ls ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ls...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

func mac(t *testing.T, s string) net.HardwareAddr {
	t.Helper()
	m, err := net.ParseMAC(s)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
