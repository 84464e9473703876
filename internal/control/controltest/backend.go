// Package controltest has a switch that exists only in the control API's
// values, for tests of its server and of its clients.
package controltest

import "vswitchd/internal/control"

// Backend is a control.Backend that answers with what it holds. It must not be
// changed while it is served.
type Backend struct {
	Status  control.SwitchStatus
	Details []control.PortDetail
	Entries []control.FDBEntry
}

// Switch implements control.Backend.
func (b *Backend) Switch() control.SwitchStatus { return b.Status }

// Ports implements control.Backend.
func (b *Backend) Ports() []control.PortInfo {
	var ports []control.PortInfo
	for _, d := range b.Details {
		ports = append(ports, d.PortInfo)
	}
	return ports
}

// Port implements control.Backend.
func (b *Backend) Port(name string) (control.PortDetail, error) {
	for _, d := range b.Details {
		if d.Name == name {
			return d, nil
		}
	}
	return control.PortDetail{}, control.ErrNotFound
}

// FDB implements control.Backend.
func (b *Backend) FDB(f control.FDBFilter) []control.FDBEntry {
	var entries []control.FDBEntry
	for _, e := range b.Entries {
		if f.Match(e.Port, e.VLAN) {
			entries = append(entries, e)
		}
	}
	return entries
}

// Sample returns a switch with a running guest, one that has not come yet, one
// that was thrown out, and an uplink.
func Sample() *Backend {
	flags := control.Flags{Learning: true, Flood: true, McastFlood: true, BcastFlood: true}
	return &Backend{
		Status: control.SwitchStatus{
			Version: "1.2.3", UptimeS: 93784, FDBEntries: 3, FDBSize: 8192, MACAgingS: 300,
			Workers: []control.Worker{
				{CPU: 1, BusyRatio: 0.0625, BusyS: 5861.5, Frames: 123456, Wakeups: 789},
				{CPU: -1},
			},
		},
		Details: []control.PortDetail{
			{PortInfo: control.PortInfo{
				Name: "lan", Kind: control.KindUplink, State: control.StateRunning, Interface: "eth1",
				Queues: 1, MTU: 1500, VLAN: control.VLAN{Mode: "native-untagged", Tag: 1, Trunks: []uint16{2, 3}}, Flags: flags,
				Counters: control.Counters{RxFrames: 1000, RxBytes: 64000, TxFrames: 2000, TxBytes: 3028000},
			}},
			{
				PortInfo: control.PortInfo{
					Name: "vm1", Kind: control.KindGuest, State: control.StateRunning,
					Socket: "/run/vswitchd/vm1.sock", Mode: "server", Queues: 1,
					Features:         []string{"VIRTIO_NET_F_MRG_RXBUF", "VIRTIO_F_VERSION_1"},
					ProtocolFeatures: []string{"MQ", "REPLY_ACK"},
					Offloads:         []string{"csum", "tso"},
					MAC:              "52:54:00:00:00:01",
					VLAN:             control.VLAN{Mode: "access", Tag: 7}, Flags: flags,
					Counters: control.Counters{
						RxFrames: 2345678901, RxBytes: 3518518351500, TxFrames: 12, TxBytes: 1024,
						Drops: control.Tally{"ring-full": 40, "bad-chain": 2}, Kicks: 5, Calls: 6, Reconnects: 1,
					},
				},
				Rings: []control.Ring{
					{Index: 0, Format: "split", Size: 256, Avail: 300, Used: 44, Enabled: true, Started: true, Kicks: 2, Calls: 6, Suppression: "event-idx"},
					{Index: 1, Format: "split", Size: 256, Avail: 65535, Used: 65534, Enabled: true, Started: true, Kicks: 3, Suppression: "event-idx"},
				},
				Regions: []control.Region{
					{GuestAddr: 0, UserAddr: 0x7f0000000000, Size: 2 << 30},
					{GuestAddr: 4 << 30, UserAddr: 0x7f0080000000, Size: 640 << 10},
				},
			},
			{PortInfo: control.PortInfo{
				Name: "vm2", Kind: control.KindGuest, State: control.StateListening,
				Socket: "/run/vswitchd/vm2.sock", Mode: "server", Queues: 4,
				VLAN: control.VLAN{Mode: "trunk"}, Flags: control.Flags{Isolated: true, MaxMACs: 2},
			}},
			{PortInfo: control.PortInfo{
				Name: "vm3", Kind: control.KindGuest, State: control.StateConnecting,
				Socket: "/tmp/vm3.sock", Mode: "client", Queues: 1,
				VLAN: control.VLAN{Mode: "trunk"}, Flags: flags, LastError: "ring 1: descriptor 7 lies outside of guest memory",
				Counters: control.Counters{Reconnects: 3, Resets: control.Tally{"bad-ring": 1, "died": 2}},
			}},
		},
		Entries: []control.FDBEntry{
			{MAC: "52:54:00:00:00:01", VLAN: 7, Port: "vm1", Type: "static"},
			{MAC: "52:54:00:00:00:99", VLAN: 0, Port: "lan", Type: "dynamic", AgeS: 17},
			{MAC: "52:54:00:00:00:02", VLAN: 0, Port: "vm3", Type: "dynamic"},
		},
	}
}
