package vswitch_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/gopacket/gopacket/layers"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// benchFilter is a filter with n rules, each of which accepts TCP from a network of its own to a
// server of its own and one of its ports. The servers are those of the last rules.
func benchFilter(n int, v6 bool) vswitch.FilterConfig {
	c := vswitch.FilterConfig{Name: "f", Default: vswitch.FilterDrop}
	for i := range n {
		src, dst := netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), netip.AddrFrom4([4]byte{192, 168, byte(i >> 8), byte(i)})
		bits := 24
		if v6 {
			src, dst = benchAddress6(0xfd00, i, 0), benchAddress6(0xfd01, 7, i)
			bits = 64
		}
		c.Rules = append(c.Rules, vswitch.FilterRule{
			Name: fmt.Sprint("r", i), Action: vswitch.FilterAccept, Protos: []uint8{6},
			Src:      vswitch.AddressMatch{Prefixes: []netip.Prefix{netip.PrefixFrom(src, bits)}},
			Dst:      vswitch.AddressMatch{Prefixes: []netip.Prefix{netip.PrefixFrom(dst, dst.BitLen())}},
			DstPorts: vswitch.PortMatch{Ranges: []vswitch.Range{{First: uint16(1000 + i), Last: uint16(1000 + i)}}},
		})
	}
	return c
}

func benchAddress6(top, net, host int) netip.Addr {
	return netip.AddrFrom16([16]byte{byte(top >> 8), byte(top), 0, 0, 0, 0, byte(net >> 8), byte(net), 14: byte(host >> 8), 15: byte(host)})
}

// benchPackets are TCP segments that rules of benchFilter accept, each another one if there are
// enough.
func benchPackets(n int, v6 bool) []vswitch.Frame {
	frames := make([]vswitch.Frame, vswitch.MaxBatch)
	for k := range frames {
		i := k * max(n/vswitch.MaxBatch, 1) % n
		tcp := slices.Concat([]byte{200, 0, byte((1000 + i) >> 8), byte(1000 + i)}, make([]byte, 9), []byte{0x10, 0, 0, 0, 0, 0, 0})
		etype, packet := uint16(v4), ip4(fmt.Sprintf("10.%d.%d.9", i>>8, i&255), fmt.Sprintf("192.168.%d.%d", i>>8, i&255), layers.IPProtocolTCP, 0, 0, tcp)
		if v6 {
			etype, packet = 0x86dd, ip6(benchAddress6(0xfd00, i, 99).String(), layers.IPProtocolTCP, tcp)
			dst := benchAddress6(0xfd01, 7, i).As16()
			copy(packet[24:], dst[:])
		}
		b := inEther(etype, packet)
		copy(b, macB[:])
		frames[k] = vswitchtest.Frame(b)
	}
	return frames
}

// BenchmarkFilter measures frames through an ingress filter, and without one. Each frame of a batch
// matches another rule, if there are that many.
func BenchmarkFilter(b *testing.B) {
	for _, bm := range []struct {
		rules int
		v6    bool
	}{{0, false}, {1, false}, {10, false}, {100, false}, {1000, false}, {4000, false}, {1, true}, {1000, true}} {
		name := fmt.Sprintf("%d rules", bm.rules)
		if bm.v6 {
			name += " IPv6"
		}
		b.Run(name, func(b *testing.B) {
			s, cfg := vswitch.NewStill(vswitch.Config{}), vswitch.DefaultPortConfig("a")
			if bm.rules > 0 {
				setFilters(b, s, benchFilter(bm.rules, bm.v6))
				cfg.IngressFilter = "f"
			}
			in := attachSinks(b, s, cfg)
			frames := benchPackets(max(bm.rules, 1), bm.v6)
			pristine := slices.Clone(frames)
			b.ReportAllocs()
			for b.Loop() {
				copy(frames, pristine)
				in.Deliver(frames)
			}
			perFrame(b, len(frames))
			for _, f := range s.Filters() {
				if n := f.Default.Frames.Load(); n > 0 {
					b.Errorf("%d frames were dropped", n)
				}
			}
		})
	}
}

// BenchmarkCompileFilter measures how long a change of a filter takes.
func BenchmarkCompileFilter(b *testing.B) {
	for _, n := range []int{1, 1000, 4000} {
		b.Run(fmt.Sprintf("%d rules", n), func(b *testing.B) {
			s := vswitch.NewStill(vswitch.Config{})
			c := [2]vswitch.FilterConfig{benchFilter(n, false), benchFilter(n, false)}
			c[1].Default = vswitch.FilterAccept
			for i := 0; b.Loop(); i++ {
				setFilters(b, s, c[i%2])
			}
		})
	}
}

// setFilters makes these the filters of a switch.
func setFilters(tb testing.TB, s *vswitch.Switch, filters ...vswitch.FilterConfig) {
	tb.Helper()
	if _, err := s.Apply(&vswitch.Change{KeepStatic: true, SetFilters: true, Filters: filters}); err != nil {
		tb.Fatal(err)
	}
}
