package vswitch_test

import (
	"math/rand/v2"
	"strings"
	"testing"

	vswitch "vswitchd/switch"
)

// A rule that is said never to match counts no frame, whatever the frames.
func TestShadowedRulesNeverMatch(t *testing.T) {
	shadowed, others := 0, 0
	for seed := range uint64(30) {
		r := filterRand{rand.New(rand.NewPCG(seed, 11))}
		f := r.filter(12)
		never := make(map[string]bool)
		for _, s := range f.Shadowed() {
			never[f.Rules[s.Rule].Name] = true
			shadowed++
		}
		for range 300 {
			whole := r.frame()
			b := whole
			if r.IntN(4) == 0 {
				b = whole[:18+r.IntN(len(whole)-17)]
			}
			counted, _ := f.decide(decodeLinear(t, whole, min(len(b), vswitch.HeadLen)))
			for _, rule := range counted {
				if never[rule] {
					t.Fatalf("seed %d: rule %s matches %x\n%+v", seed, rule, b, f.Rules)
				}
				others++
			}
		}
	}
	if shadowed < 20 || others < 5000 {
		t.Errorf("%d rules are shadowed, and others match %d times: this proves little", shadowed, others)
	}
}

// Which pairs of conditions are compared.
func TestShadowedRules(t *testing.T) {
	words := &scenario{lab: newLab(t, vswitch.Config{})}
	for _, tt := range []struct {
		first, second string
		shadowed      bool
	}{
		{"a drop", "b accept src=10.0.0.0/8", true},
		{"a count", "b accept src=10.0.0.0/8", false},
		{"a accept src=10.0.0.0/8,@s", "b accept src=10.1.0.0/16", true},
		{"a accept src=10.0.0.0/8,@s", "b accept src=@s,10.0.0.1", true},
		{"a accept src=@s", "b accept src=@t", false},
		{"a accept src=10.0.0.0/8", "b accept src=11.0.0.0/8", false},
		{"a accept src=10.0.0.0/8", "b accept dst=10.0.0.0/8", false},
		{"a accept src=10.0.0.0/8", "b accept", false},
		// What cannot be read is left to rules that drop.
		{"a accept src=10.0.0.0/8", "b drop src=10.0.0.1", false},
		{"a drop src=10.0.0.0/8", "b drop src=10.0.0.1", true},
		{"a accept src_mac=52:54:00:00:00:00/24", "b drop src_mac=52:54:00:00:00:01", true},
		{"a accept src_mac=52:54:00:00:00:01", "b drop src_mac=52:54:00:00:00:00/24", false},
		{"a drop vlan=1-10", "b accept vlan=5,7-8", true},
		{"a drop vlan=1-10", "b accept vlan=5,7-11", false},
		{"a drop pcp=3", "b accept pcp=3 vlan=5", true},
		{"a drop ethertype=ipv4,arp", "b accept ethertype=arp", true},
		{"a drop proto=tcp,udp dst_ports=1-100,@p", "b accept proto=tcp dst_ports=80", true},
		{"a drop proto=tcp dst_ports=80", "b accept proto=tcp,udp dst_ports=80", false},
		{"a drop proto=udp src_ports=80", "b accept proto=udp dst_ports=80", false},
		{"a drop icmp_type=8", "b accept icmp_type=8/0", true},
		{"a drop icmp_type=8/0", "b accept icmp_type=8", false},
		{"a drop icmp_type=8", "b accept icmpv6_type=8", false},
		{"a drop tcp_flags=syn", "b accept tcp_flags=syn,!ack", true},
		{"a drop tcp_flags=syn,!ack", "b accept tcp_flags=syn", false},
		{"a drop established=true", "b accept established=true dst=10.0.0.1", true},
		{"a drop fragment=true", "b accept fragment=true proto=udp", true},
		{"a drop fragment=true", "b accept proto=udp", false},
	} {
		f := vswitch.FilterConfig{Rules: []vswitch.FilterRule{
			words.filterRule(strings.Fields(tt.first)), words.filterRule(strings.Fields(tt.second)),
		}}
		if got := len(f.Shadowed()) == 1; got != tt.shadowed {
			t.Errorf("%s, then %s: shadowed %v, want %v", tt.first, tt.second, got, tt.shadowed)
		}
	}
}
