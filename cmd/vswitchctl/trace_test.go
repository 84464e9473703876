package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/spf13/pflag"
)

// fieldsOf makes the frame of a command line.
func fieldsOf(args string) ([]byte, error) {
	var f frameFields
	flags := pflag.NewFlagSet("trace", pflag.ContinueOnError)
	f.flags(flags)
	if err := flags.Parse(strings.Fields(args)); err != nil {
		return nil, err
	}
	return f.build()
}

// A frame made from fields has these fields, and is whole.
func TestFramesFromFields(t *testing.T) {
	for args, want := range map[string]string{
		"--src 52:54:00:00:00:01":                                                                 "52:54:00:00:00:01 > ff:ff:ff:ff:ff:ff 0x88b5",
		"--dst 52:54:00:00:00:02 --vlan 0 --ethertype 0x0806":                                     "02:00:00:00:00:01 > 52:54:00:00:00:02 vlan 0 0x0806",
		"--vlan 4095 --ip-src 10.0.0.1 --ip-dst 10.0.0.2 --dport 22":                              "02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff vlan 4095 0x0800 10.0.0.1 > 10.0.0.2 TCP 0>22",
		"--ip-src fd00::1 --ip-dst fd00::2 --proto udp --sport 5 --dport 53":                      "02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff 0x86dd fd00::1 > fd00::2 UDP 5>53",
		"--ip-src 10.0.0.1 --ip-dst 10.0.0.2 --proto icmp":                                        "02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff 0x0800 10.0.0.1 > 10.0.0.2 ICMPv4",
		"--ip-src fd00::1 --ip-dst fd00::2 --proto icmpv6":                                        "02:00:00:00:00:01 > ff:ff:ff:ff:ff:ff 0x86dd fd00::1 > fd00::2 ICMPv6",
		"--ip-src 10.0.0.1 --ip-dst 10.0.0.2 --proto 89 --ethertype 2048 --src 2:0:0:0:0:9":       "error",
		"--ip-src 10.0.0.1 --ip-dst 10.0.0.2 --proto 89 --ethertype 2048 --src 02:00:00:00:00:09": "02:00:00:00:00:09 > ff:ff:ff:ff:ff:ff 0x0800 10.0.0.1 > 10.0.0.2 OSPF",
	} {
		b, err := fieldsOf(args)
		got := "error"
		if err == nil {
			got = describePacket(gopacket.NewPacket(b, layers.LayerTypeEthernet, gopacket.Default))
		}
		if got != want {
			t.Errorf("%s: %s, want %s", args, got, want)
		}
	}
}

func describePacket(p gopacket.Packet) string {
	eth := p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	text, etherType := fmt.Sprintf("%s > %s", eth.SrcMAC, eth.DstMAC), eth.EthernetType
	if tag, ok := p.Layer(layers.LayerTypeDot1Q).(*layers.Dot1Q); ok {
		text += fmt.Sprintf(" vlan %d", tag.VLANIdentifier)
		etherType = tag.Type
	}
	text += fmt.Sprintf(" %#04x", uint16(etherType))
	if n := p.NetworkLayer(); n != nil {
		text += fmt.Sprintf(" %s > %s", n.NetworkFlow().Src(), n.NetworkFlow().Dst())
		last := p.Layers()[2]
		if n.LayerType() == layers.LayerTypeIPv4 && p.TransportLayer() == nil && p.Layer(layers.LayerTypeICMPv4) == nil {
			return text + " " + n.(*layers.IPv4).Protocol.String()
		}
		if tr := p.TransportLayer(); tr != nil {
			return text + fmt.Sprintf(" %s %s>%s", tr.LayerType(), raw(tr.TransportFlow().Src()), raw(tr.TransportFlow().Dst()))
		}
		text += " " + last.LayerType().String()
	}
	return text
}

func raw(e gopacket.Endpoint) string {
	b := e.Raw()
	return fmt.Sprint(int(b[0])<<8 | int(b[1]))
}

func TestTraceUsage(t *testing.T) {
	socket := serve(t, reloads)
	for args, want := range map[string]string{
		"trace --frame 00":                                          "the port that the frame comes from is missing",
		"trace vm1":                                                 "the frame is missing: use --frame, or fields such as --dst",
		"trace vm1 --frame 00 --vlan 3":                             "--frame excludes --vlan",
		"trace vm1 --next --vlan 3":                                 "--next excludes --vlan",
		"trace vm1 --next --frame 00":                               "--next excludes --frame",
		"trace vm1 --frame 0x":                                      "--frame: encoding/hex: invalid byte",
		"trace vm1 --vlan 4096":                                     "--vlan: is 4096, must be from 0 to 4095",
		"trace vm1 --dst vm2":                                       `--dst: "vm2" is no MAC address`,
		"trace vm1 --dport 80":                                      "--proto, --sport and --dport need --ip-src and --ip-dst",
		"trace vm1 --ip-src 10.0.0.1":                               `--ip-dst: "" is no IP address of the version of --ip-src`,
		"trace vm1 --ip-src x":                                      `--ip-src: "x" is no IP address`,
		"trace vm1 --ip-src 10.0.0.1 --ip-dst fd00::1":              `--ip-dst: "fd00::1" is no IP address of the version of --ip-src`,
		"trace vm1 --ip-src 10.0.0.1 --ip-dst 10.0.0.2 --proto tpc": `--proto: "tpc" is neither tcp, udp, icmp or icmpv6, nor a number`,
		"trace vm1 --ethertype ip":                                  `--ethertype: "ip" is no number such as 0x0806`,
	} {
		var stdout, stderr bytes.Buffer
		if code := run(append([]string{"--control", socket}, strings.Fields(args)...), &stdout, &stderr); code != exitUsage || !strings.Contains(stderr.String(), want) {
			t.Errorf("%s: exit code %d: %s", args, code, &stderr)
		}
	}
	var stdout, stderr bytes.Buffer
	if code := run([]string{"--control", socket, "trace", "vm9", "--frame", "00"}, &stdout, &stderr); code != exitFailed || !strings.Contains(stderr.String(), `no such port: "vm9"`) {
		t.Errorf("exit code %d: %s", code, &stderr)
	}
}

// A trace of the next frame asks until one has come, with the filter as a program.
func TestTraceNext(t *testing.T) {
	socket := serve(t, reloads)
	fakeTcpdump(t, `printf '1\n6 0 0 262144\n'`)
	var stdout, stderr bytes.Buffer
	if code := run([]string{"--control", socket, "trace", "vm1", "--next", "arp", "or", "icmp"}, &stdout, &stderr); code != exitOK ||
		!strings.Contains(stdout.String(), "frame  2 bytes: 0102") || !strings.Contains(stdout.String(), "transmit  vm2   send    2 bytes") {
		t.Errorf("exit code %d: %s%s", code, &stdout, &stderr)
	}
	stderr.Reset()
	if code := run([]string{"--control", socket, "trace", "vm1", "--next", "--timeout", "10ms"}, &stdout, &stderr); code != exitFailed ||
		stderr.String() != "vswitchctl: no such frame has come\n" {
		t.Errorf("without a frame: exit code %d: %s", code, &stderr)
	}
}
