package vswitch_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	vswitch "vswitchd/switch"
)

func announcing(c *vswitch.PortConfig) { c.Role, c.Announce = vswitch.RoleUplink, true }

// announced returns the stations that have been announced to a port since it was asked last, each
// with the VLAN of its tag and the number of its announcements.
func (l *lab) announced(port string) string {
	l.t.Helper()
	times := make(map[string]int)
	for _, sent := range l.ports[port].Take() {
		p := gopacket.NewPacket(sent.Bytes, layers.LayerTypeEthernet, gopacket.Default)
		eth, _ := p.LinkLayer().(*layers.Ethernet)
		if eth == nil {
			l.t.Fatalf("%s was sent %x", port, sent.Bytes)
		}
		etype, payload, vlan := eth.EthernetType, eth.Payload, ""
		if q, ok := p.Layer(layers.LayerTypeDot1Q).(*layers.Dot1Q); ok {
			etype, payload, vlan = q.Type, q.Payload, fmt.Sprintf("/%d", q.VLANIdentifier)
		}
		if etype != 0x8035 {
			continue
		}
		src := eth.SrcMAC.String()
		if eth.DstMAC.String() != "ff:ff:ff:ff:ff:ff" || string(payload[8:14]) != string(eth.SrcMAC) || string(payload[18:24]) != string(eth.SrcMAC) || len(sent.Bytes) < 60 {
			l.t.Errorf("%s was sent %x", port, sent.Bytes)
		}
		times[src[len(src)-2:]+vlan]++
	}
	var list []string
	for station, n := range times {
		list = append(list, fmt.Sprintf("%s x %d", station, n))
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

func (l *lab) wantAnnounced(what, port, want string) {
	l.t.Helper()
	if got := l.announced(port); got != want {
		l.t.Errorf("%s: announced on %s are [%s], want [%s]", what, port, got, want)
	}
}

// An uplink that comes up is sent announcements of all stations that are not behind uplinks: now,
// after one second, and after three.
func TestUplinkThatComesUpHearsOfStations(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.addAll("a", "b")
	l.add("host", func(c *vswitch.PortConfig) { c.Role = vswitch.RoleHost })
	l.add("lan", announcing)
	l.add("wan", announcing)
	l.add("quiet", uplinkRole)
	l.advance(10 * time.Second)
	l.send("a", ether(broadcast, macA, ""))
	l.send("host", ether(broadcast, macB, ""))
	l.send("wan", ether(broadcast, macC, ""))
	for _, name := range []string{"lan", "wan", "quiet"} {
		l.ports[name].Take()
	}
	l.advance(10 * time.Second)
	l.wantAnnounced("nothing has come up", "lan", "")
	lan := l.ports["lan"]
	lan.SetUp(false)
	lan.SetUp(true)
	l.advance(time.Second)
	l.wantAnnounced("at first", "lan", sortedText(last(macA)+" x 1", last(macB)+" x 1"))
	l.advance(20 * time.Second)
	l.wantAnnounced("later", "lan", sortedText(last(macA)+" x 2", last(macB)+" x 2"))
	l.wantAnnounced("was up all the time", "wan", "")
	l.wantAnnounced("does not want announcements", "quiet", "")
	l.wantAnnounced("is no uplink", "b", "")
	if n := lan.counters.Announced(); n != 6 {
		t.Errorf("%d announcements are counted", n)
	}
}

// last returns the last byte of an address as it is printed.
func last(m vswitch.MAC) string { return fmt.Sprintf("%02x", m[5]) }

// A guest's port that comes up has its stations announced on all uplinks: its own address, if that
// is configured, and those that are learned in the meantime.
func TestGuestThatComesBackIsAnnounced(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.add("lan", announcing)
	l.add("wan", announcing)
	l.add("other", func(c *vswitch.PortConfig) { c.MACs = []vswitch.MAC{macC} })
	l.advance(10 * time.Second)
	l.announced("lan")
	l.announced("wan")
	a := l.add("a", func(c *vswitch.PortConfig) { c.MACs = []vswitch.MAC{macA} })
	l.advance(time.Second)
	l.wantAnnounced("its own address", "lan", last(macA)+" x 1")
	l.send("a", ether(macC, macB, ""))
	l.advance(20 * time.Second)
	l.wantAnnounced("what was learned", "lan", sortedText(last(macA)+" x 2", last(macB)+" x 2"))
	l.wantAnnounced("on the other uplink", "wan", sortedText(last(macA)+" x 3", last(macB)+" x 2"))
	a.SetUp(false)
	l.advance(5 * time.Second)
	l.wantAnnounced("a guest that leaves", "lan", "")
}

func sortedText(list ...string) string {
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// A station is announced in its VLAN, with the tag that the uplink wants, if the uplink carries the
// VLAN and the station may reach the uplink.
func TestAnnouncementsHaveTags(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.add("a", func(c *vswitch.PortConfig) { c.Tag, c.MACs = 10, []vswitch.MAC{macA} })
	l.add("b", func(c *vswitch.PortConfig) { c.Tag, c.MACs = 20, []vswitch.MAC{macB} })
	l.add("c", func(c *vswitch.PortConfig) { c.Isolated, c.MACs = true, []vswitch.MAC{macC} })
	l.add("trunk", announcing)
	l.add("access", announcing, func(c *vswitch.PortConfig) { c.Tag = 10 })
	l.add("isolated", announcing, func(c *vswitch.PortConfig) { c.Isolated = true })
	l.advance(time.Second)
	l.wantAnnounced("a trunk", "trunk", sortedText(last(macA)+"/10 x 1", last(macB)+"/20 x 1", last(macC)+" x 1"))
	l.wantAnnounced("an access port", "access", last(macA)+" x 1")
	l.wantAnnounced("an isolated port", "isolated", sortedText(last(macA)+"/10 x 1", last(macB)+"/20 x 1"))
}

// There is a limit for a second, and one for what is waiting.
func TestAnnouncementsAreLimited(t *testing.T) {
	l := newLab(t, vswitch.Config{TableSize: 8192})
	l.addAll("a")
	for i := range 1500 {
		l.send("a", ether(broadcast, vswitch.MAC{2, 0, 0, 1, byte(i >> 8), byte(i)}, ""))
	}
	lan := l.add("lan", announcing)
	l.advance(time.Second)
	if n := lan.counters.Announced(); n != 1024 {
		t.Errorf("%d announcements in the first second", n)
	}
	l.advance(20 * time.Second)
	if n := lan.counters.Announced(); n != 3*1500 {
		t.Errorf("%d announcements", n)
	}
}
