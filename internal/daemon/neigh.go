package daemon

import (
	"fmt"
	"net"

	"vswitchd/internal/config"
	"vswitchd/internal/control"
	vswitch "vswitchd/switch"
)

// The neighbor table: its configured entries, and the control API.

func neighbors(entries []config.Neighbor) (list []vswitch.Neighbor) {
	for i := range entries {
		list = append(list, entries[i].Neighbor)
	}
	return list
}

// compareNeighbors returns a line for each neighbor that is added or removed.
func compareNeighbors(old, now []config.Neighbor) []string {
	return compareValues(neighbors(old), neighbors(now), func(n vswitch.Neighbor) string {
		text := fmt.Sprintf("neighbor %v at %s", n.IP, n.MAC)
		if !n.All {
			text += fmt.Sprintf(" in VLAN %d", n.VLAN)
		}
		if n.Router {
			text += ", a router,"
		}
		return text
	})
}

// Neighbors implements control.Backend.
func (b backend) Neighbors(vlan int) (list []control.Neighbor) {
	for _, n := range b.d.sw.Neighbors(anyVLAN(vlan)) {
		entry := control.Neighbor{
			IP: n.IP.String(), MAC: net.HardwareAddr(n.MAC[:]).String(), VLAN: n.VLAN, All: n.All, Port: n.Port,
			Type: "configured", State: string(n.State), Router: n.Router, Guarded: n.Guarded, AgeS: int64(n.Age.Seconds()),
		}
		if n.Learned {
			entry.Type = "learned"
		}
		list = append(list, entry)
	}
	return list
}
