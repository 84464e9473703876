// Package controltest provides a switch that consists only of the control API's values, for tests
// of the API's server and clients.
package controltest

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"

	"vswitchd/internal/control"
	"vswitchd/internal/events"
)

// Backend is a control.Backend that answers with the values that it holds. It must not be changed
// while it is served.
type Backend struct {
	Status  control.SwitchStatus
	Details []control.PortDetail
	Entries []control.FDBEntry
	Groups  control.MDB
	Neighs  []control.Neighbor
	Copies  []control.Mirror
	Lists   []control.Filter
	Members []control.Set

	Events events.Hub // by which a test publishes events

	Changes []control.SetChange // that ChangeSet was called with; not served while it is called

	Running      []control.Capture
	Stream, Rest []byte // what a capture writes, and after it is stopped
	EndsAtOnce   bool   // a capture does not wait to be stopped

	mu       sync.Mutex
	Requests []control.CaptureRequest // that Capture was called with; not served while it is called
	stream   *stream                  // of the last one
}

// Switch implements control.Backend.
func (b *Backend) Switch() control.SwitchStatus { return b.Status }

// State implements control.Backend.
func (b *Backend) State() (json.RawMessage, error) { return json.RawMessage(`{"schema":1}`), nil }

// Ports implements control.Backend.
func (b *Backend) Ports() []control.PortInfo {
	var ports []control.PortInfo
	for _, d := range b.Details {
		ports = append(ports, d.PortInfo)
	}
	return ports
}

// StatsSinceReset implements control.Backend: vm2 has counted one frame since it was reset.
func (b *Backend) StatsSinceReset() []control.PortStats {
	stats := b.Stats()
	for i := range stats {
		if stats[i].Name == "vm2" {
			stats[i].Reset, stats[i].SinceS, stats[i].Counters = true, 75, control.Counters{RxFrames: 1, RxBytes: 60}
		}
	}
	return stats
}

// ResetStats implements control.Backend. It resets nothing.
func (b *Backend) ResetStats(port string) (n int, err error) {
	for _, d := range b.Details {
		if port == "" || port == d.Name {
			n++
		}
	}
	return n, nil
}

// Stats implements control.Backend. The port vm1 has limits.
func (b *Backend) Stats() []control.PortStats {
	var stats []control.PortStats
	for _, d := range b.Details {
		st := control.PortStats{
			Name: d.Name, Kind: d.Kind, State: d.State, LoopBlocked: d.Loop != nil, FDB: d.FDB, Counters: d.Counters,
		}
		if d.Kind == control.KindGuest {
			st.Backlog = &control.Backlog{}
			for _, r := range d.Rings {
				switch r.Direction {
				case "to-guest":
					st.Backlog.Buffers += r.Waiting
				case "from-guest":
					st.Backlog.Frames += r.Waiting
				}
			}
		}
		if d.Name == "vm1" {
			st.Limits = control.List[control.PortLimit]{{Key: "egress_rate", Bits: 1e9}, {Key: "storm_control_pps", Frames: 1000}}
		}
		stats = append(stats, st)
	}
	return stats
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

// Reasons implements control.Backend.
func (b *Backend) Reasons(k control.Kind) control.Reasons {
	if k == control.KindUplink {
		return control.Reasons{Drops: []string{"bad-chain", "kernel-ring-full", "ring-full"}}
	}
	return control.Reasons{Drops: []string{"bad-chain", "ring-full"}, Resets: []string{"bad-ring", "died", "other"}}
}

// FDB implements control.Backend.
func (b *Backend) FDB(f control.FDBFilter) []control.FDBEntry {
	var entries []control.FDBEntry
	for _, e := range b.Entries {
		if f.Match(&e) {
			entries = append(entries, e)
		}
	}
	return entries
}

// AddFDB implements control.Backend. It adds nothing.
func (b *Backend) AddFDB(a control.FDBAddition) (control.FDBEntry, error) {
	mac := net.HardwareAddr(a.MAC[:]).String()
	for _, e := range b.Entries {
		if e.MAC == mac && e.Type == "static" {
			return control.FDBEntry{}, fmt.Errorf("address is pinned: %s", mac)
		}
	}
	return control.FDBEntry{MAC: mac, Port: a.Port, VLAN: uint16(max(a.VLAN, 0)), All: a.Port == "" && a.VLAN < 0, Type: a.Type}, nil
}

// DeleteFDB implements control.Backend. It removes nothing.
func (b *Backend) DeleteFDB(mac control.MAC, vlan int) error {
	for _, e := range b.Entries {
		if e.MAC == net.HardwareAddr(mac[:]).String() && (vlan < 0 || vlan == int(e.VLAN)) {
			if e.Type == "static" {
				return fmt.Errorf("address is pinned: %s", e.MAC)
			}
			return nil
		}
	}
	return fmt.Errorf("%w: %s", control.ErrNoEntry, net.HardwareAddr(mac[:]))
}

// FlushFDB implements control.Backend. It removes nothing.
func (b *Backend) FlushFDB(f control.FDBFilter, types []string) (n int, _ error) {
	for _, e := range b.FDB(f) {
		if slices.Contains(types, e.Type) {
			n++
		}
	}
	return n, nil
}

// MDB implements control.Backend.
func (b *Backend) MDB(vlan int) control.MDB {
	m := control.MDB{Snooping: b.Groups.Snooping}
	for _, e := range b.Groups.Entries {
		if vlan < 0 || vlan == int(e.VLAN) {
			m.Entries = append(m.Entries, e)
		}
	}
	for _, n := range b.Groups.Networks {
		if vlan < 0 || vlan == int(n.VLAN) {
			m.Networks = append(m.Networks, n)
		}
	}
	return m
}

// AddMember implements control.Backend. It adds nothing.
func (b *Backend) AddMember(m control.Member) (control.MDBEntry, error) {
	e := control.MDBEntry{Group: m.Group.String(), VLAN: uint16(max(m.VLAN, 0)), Port: m.Port, Type: "static"}
	if m.Source.IsValid() {
		e.Source = m.Source.String()
	}
	if slices.ContainsFunc(b.Groups.Entries, func(o control.MDBEntry) bool {
		return o.Group == e.Group && o.VLAN == e.VLAN && o.Port == e.Port && o.Type == e.Type && o.Source == e.Source
	}) {
		return e, fmt.Errorf("port is a static member already: %s", e.Group)
	}
	return e, nil
}

// DeleteMember implements control.Backend. It removes nothing.
func (b *Backend) DeleteMember(m control.Member) (control.MDBEntry, error) {
	e, err := b.AddMember(m)
	if err == nil {
		return e, fmt.Errorf("%w: %s", control.ErrNoMember, e.Group)
	}
	return e, nil
}

// mcastEvents returns counts of events of multicast snooping, with all names.
func mcastEvents(joined, queries uint64) control.Tally {
	return control.Tally{
		"joined": joined, "left": 0, "expired": 0, "queries": queries, "reports": joined, "malformed": 0,
		"truncated": 0, "limited": 0, "contended": 0, "queries_sent": 0,
	}
}

// Neighbors implements control.Backend.
func (b *Backend) Neighbors(vlan int) (list []control.Neighbor) {
	for _, n := range b.Neighs {
		if vlan < 0 || n.All || vlan == int(n.VLAN) {
			list = append(list, n)
		}
	}
	return list
}

// Mirrors implements control.Backend.
func (b *Backend) Mirrors() []control.Mirror { return b.Copies }

// Captures implements control.Backend.
func (b *Backend) Captures() []control.Capture { return b.Running }

// Listen implements control.Backend.
func (b *Backend) Listen(f control.EventFilter) (control.EventListener, error) {
	l, err := b.Events.Listen(f)
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Capture implements control.Backend. The captures write Stream, wait to be stopped, and then write
// Rest.
func (b *Backend) Capture(r control.CaptureRequest) (control.CaptureStream, error) {
	switch {
	case len(r.Filter) > 0 && r.Filter[0][0] > 0xffff:
		return nil, fmt.Errorf("%w: filter: instruction 0: a number is too large", control.ErrMalformed)
	case r.Buffer > 1<<30:
		return nil, errors.New("captures need too much memory")
	}
	s := &stream{info: control.Capture{ID: 7, Ports: r.Ports, All: r.All, Filter: r.FilterText, Captured: 42, Lost: 3}, b: b, stop: make(chan struct{})}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.Requests = append(b.Requests, r)
	b.stream = s
	return s, nil
}

// StopCapture implements control.Backend.
func (b *Backend) StopCapture(id int) (control.Capture, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stream == nil || id != 7 {
		return control.Capture{}, fmt.Errorf("%w: %d", control.ErrNoCapture, id)
	}
	b.stream.stopped.Do(func() { close(b.stream.stop) })
	return b.stream.info, nil
}

// A stream is a capture that does not capture anything.
type stream struct {
	info    control.Capture
	b       *Backend
	stop    chan struct{}
	stopped sync.Once
}

func (s *stream) Info() control.Capture { return s.info }

func (s *stream) Run(ctx context.Context, w io.Writer, flush func() error) error {
	if _, err := w.Write(s.b.Stream); err != nil {
		return err
	}
	if err := flush(); err != nil {
		return err
	}
	if !s.b.EndsAtOnce {
		select {
		case <-s.stop:
		case <-ctx.Done():
		}
	}
	_, err := w.Write(s.b.Rest)
	return err
}

// Trace implements control.Backend: every frame is sent to vm2, with another tag.
func (b *Backend) Trace(port string, frame []byte) ([]control.TraceStep, error) {
	return []control.TraceStep{
		{Stage: "admit", Port: port, Result: "pass", Detail: "the port is up"},
		{Stage: "classify", Port: port, Result: "pass", Detail: "in VLAN 7"},
		{Stage: "filter", Port: port, Result: "count", Filter: "web", Rule: "all"},
		{Stage: "lookup", Port: port, Result: "pass", Detail: "the destination is not known"},
		{Stage: "transmit", Port: "vm2", Result: "send", Detail: "unchanged", Frames: []string{hex.EncodeToString(frame)}},
		{Stage: "filter", Port: "lan", Result: "drop", Reason: "filter", Filter: "web", Rule: "default"},
	}, nil
}

// Next implements control.Backend: a frame comes if there is a program, and is sent to vm2.
func (b *Backend) Next(_ context.Context, port string, program [][4]uint32) ([]byte, []control.TraceStep, error) {
	if len(program) == 0 {
		return nil, nil, nil
	}
	return []byte{1, 2}, []control.TraceStep{{Stage: "transmit", Port: "vm2", Result: "send", Frames: []string{"0102"}}}, nil
}

// Filters implements control.Backend.
func (b *Backend) Filters() []control.Filter { return b.Lists }

// Sets implements control.Backend.
func (b *Backend) Sets() []control.Set { return b.Members }

// ChangeSet implements control.Backend: it records the change, refuses one that adds "refused", and
// says that "malformed" is malformed. The set stays as it is.
func (b *Backend) ChangeSet(name string, change control.SetChange) (control.Set, error) {
	for _, s := range b.Members {
		if s.Name != name {
			continue
		}
		b.Changes = append(b.Changes, change)
		if change.Add != nil && slices.Contains(change.Add.Addresses, "refused") {
			return s, errors.New("set admins: refused\nfor two reasons")
		}
		if change.Add != nil && slices.Contains(change.Add.Addresses, "malformed") {
			return s, fmt.Errorf("%w: addresses: element 0 is wrong", control.ErrMalformed)
		}
		return s, nil
	}
	return control.Set{}, control.ErrNoSet
}

// events returns counts of events in the FDB, with all names.
func fdbEvents(learned, moved, flapped uint64) control.Tally {
	return control.Tally{
		"learned": learned, "moved": moved, "flapped": flapped, "expired": 0, "evicted": 0,
		"static_claims": 0, "held": 0, "limited": 0, "contended": 0, "full": 0,
	}
}

// policies returns all flags. Those in set are on; numbers in set are 2.
func policies(set ...string) (s control.Settings) {
	for _, name := range []string{"learning", "flood", "mcast_flood", "bcast_flood", "isolated", "hairpin"} {
		s = append(s, control.Setting{Key: name, Value: slices.Contains(set, name)})
	}
	for _, name := range []string{"max_macs", "group_fwd_mask"} {
		n := json.Number("0")
		if slices.Contains(set, name) {
			n = "2"
		}
		s = append(s, control.Setting{Key: name, Value: n})
	}
	return s
}

func ptr[T any](v T) *T { return &v }

// Sample returns a switch with a running guest, one that has not connected yet, one whose session
// ended with an error, and an uplink.
func Sample() *Backend {
	flags := policies("learning", "flood", "mcast_flood", "bcast_flood")
	return &Backend{
		Status: control.SwitchStatus{
			Version: "1.2.3", UptimeS: 93784, FDBEntries: 3, FDBSize: 8192, MACAgingS: 300,
			FDBEvents: fdbEvents(12, 5, 4), MDBEntries: 3, McastEvents: mcastEvents(3, 2),
			Captures:   control.CaptureTotals{Running: 2, Captured: 5000, Lost: 17},
			Processors: 4,
			Sandbox: control.Sandbox{
				Parts: []control.SandboxPart{
					{Name: "no_new_privs", State: "on"},
					{Name: "landlock", State: "unavailable", Detail: "the kernel has no Landlock, or does not have it in lsm="},
					{Name: "capabilities", State: "off"},
					{Name: "seccomp", State: "on"},
				},
				Capabilities: []string{"CAP_NET_RAW"},
				Read:         []string{"/etc/vswitchd"},
				Write:        []string{"/run/vswitchd"},
			},
			Limits: []control.Limit{
				{Resource: "mappings", Used: 12, Limit: 57339, SetBy: "vm.max_map_count"},
				{Resource: "file-descriptors", Used: 80, Limit: 896, SetBy: "RLIMIT_NOFILE"},
			},
			Workers: []control.Worker{
				{
					CPU: 1, BusyRatio: 0.0625, BusyS: 5861.5, Frames: 123456, Wakeups: 789, AwakeS: 6000.25, EmptyPolls: 99,
					Batches: control.Histogram{Bounds: []float64{1, 64}, Counts: []uint64{3456, 5000, 0}, Sum: 123456},
					Latency: control.Histogram{Bounds: []float64{2e-06, 5e-06, 0.001}, Counts: []uint64{700, 80, 0, 9}, Sum: 0.0185},
				},
				{
					CPU: -1, Asleep: true,
					Batches: control.Histogram{Bounds: []float64{1, 64}, Counts: []uint64{0, 0, 0}},
					Latency: control.Histogram{Bounds: []float64{2e-06, 5e-06, 0.001}, Counts: []uint64{0, 0, 0, 0}},
				},
			},
		},
		Details: []control.PortDetail{
			{PortInfo: control.PortInfo{
				Name: "lan", Kind: control.KindUplink, State: control.StateRunning, Interface: "eth1",
				Queues: 1, MTU: 1500, VLAN: control.VLAN{Mode: "native-untagged", Tag: 1, Trunks: []uint16{2, 3}}, Flags: flags,
				HostMACs: []string{"52:54:00:00:00:fe"}, FDB: control.FDBCount{Dynamic: 2, Static: 1},
				Counters: control.Counters{
					RxFrames: 1000, RxBytes: 64000, TxFrames: 2000, TxBytes: 3028000, FDBEvents: fdbEvents(10, 4, 4),
					McastEvents: mcastEvents(0, 2),
				},
			}},
			{
				PortInfo: control.PortInfo{
					Name: "vm1", Kind: control.KindGuest, State: control.StateRunning,
					Socket: "/run/vswitchd/vm1.sock", Mode: "server", Queues: 1,
					Features:         []string{"VIRTIO_NET_F_MRG_RXBUF", "VIRTIO_F_VERSION_1"},
					ProtocolFeatures: []string{"MQ", "REPLY_ACK"},
					Offloads:         []string{"csum", "tso"},
					Settings:         control.Settings{{Key: "description", Value: "web server"}, {Key: "mode", Value: "server"}},
					MAC:              "52:54:00:00:00:01",
					VLAN:             control.VLAN{Mode: "access", Tag: 7}, Flags: flags,
					Counters: control.Counters{
						RxFrames: 2345678901, RxBytes: 3518518351500, TxFrames: 12, TxBytes: 1024,
						Drops: control.Tally{"ring-full": 40, "bad-chain": 2}, Kicks: 5, Calls: 6, Reconnects: 1, Waited: 77,
					},
				},
				FeatureBits: []control.FeatureBit{
					{Bit: 3, Name: "MTU"}, {Bit: 15, Name: "MRG_RXBUF", Acked: true}, {Bit: 32, Name: "VERSION_1", Acked: true},
				},
				ProtocolFeatureBits:      []control.FeatureBit{{Bit: 0, Name: "MQ", Acked: true}, {Bit: 3, Name: "REPLY_ACK", Acked: true}, {Bit: 9, Name: "CONFIG"}},
				FeaturesNotAcked:         []string{"MTU"},
				ProtocolFeaturesNotAcked: []string{"CONFIG"},
				Session: &control.Session{
					AgeS: 7384, Number: 2, Owned: true, BackendChannel: "open",
					DeviceStatus: control.DeviceStatus{Value: 15, Names: []string{"ACKNOWLEDGE", "DRIVER", "DRIVER_OK", "FEATURES_OK"}},
					DirtyLog:     control.DirtyLog{On: true, Present: true, Size: 98304},
					InFlight:     control.InFlight{Present: true, Size: 8320, Rings: 2, QueueSize: 256},
					ControlQueue: &control.ControlQueue{
						Ring: 2, QueuePairs: 1, Commands: 12, Refused: 1, Receives: []string{"own", "broadcast"},
						Multicast: []string{"33:33:00:00:00:01"}, VLANs: &control.List[uint16]{5, 7}, OffloadsOff: []string{"GUEST_TSO4"},
					},
				},
				LastEnd: &control.End{Reason: "front-end disconnected while its rings were running", AgoS: 7385},
				Rings: []control.Ring{
					{
						Index: 0, Direction: "to-guest", Format: "split", Size: 256, Enabled: true, Started: true, Running: true,
						AvailIdx: ptr[uint16](555), Avail: 300, LastAvail: 300, Used: 300, Base: 300, Waiting: 255, Recorded: true,
						Kicks: 2, Calls: 6, KickBy: "eventfd", CallBy: "eventfd", Suppression: "event-idx", Polling: true,
						WantKicks: control.Notify{When: "at-event", Event: ptr[uint16](0)},
						WantCalls: control.Notify{When: "at-event", Event: ptr[uint16](301)},
						DescAddr:  0x7f0000100000, AvailAddr: 0x7f0000101000, UsedAddr: 0x7f0000102000, LogUsed: true, LogAddr: 0x102000,
					},
					{
						Index: 1, Direction: "from-guest", Format: "packed", Size: 256, Enabled: true, Started: true, Running: true,
						Avail: 255, AvailWrap: ptr(1), LastAvail: 255, Used: 254, UsedWrap: ptr(1), Base: 0x80fe80ff, InFlight: 1, BadChains: 2,
						Kicks: 3, KickBy: "message", CallBy: "none", Suppression: "event-idx",
						WantKicks: control.Notify{When: "at-event", Event: ptr[uint16](255), Wrap: ptr(1)},
						WantCalls: control.Notify{When: "never"},
					},
					{
						Index: 2, Direction: "control", Format: "split", Size: 256, Started: true, Broken: "bad virtqueue: address outside guest memory",
						KickBy: "none", CallBy: "eventfd", Suppression: "none", WantKicks: control.Notify{When: "unknown"}, WantCalls: control.Notify{When: "unknown"},
					},
				},
				Regions: []control.Region{
					{GuestAddr: 0, UserAddr: 0x7f0000000000, Size: 2 << 30, PageSize: 2 << 20},
					{GuestAddr: 4 << 30, UserAddr: 0x7f0080000000, Size: 640 << 10, FileOffset: 2 << 30, PageSize: 4096},
				},
			},
			{PortInfo: control.PortInfo{
				Name: "vm2", Kind: control.KindGuest, State: control.StateListening,
				Socket: "/run/vswitchd/vm2.sock", Mode: "server", Queues: 4,
				VLAN:  control.VLAN{Mode: "dot1q-tunnel", Tag: 5, CVLANs: []uint16{7, 9, 10, 11}},
				Flags: policies("isolated", "max_macs"),
				Settings: control.Settings{
					{Key: "tag", Value: 5}, {Key: "cvlans", Value: []any{7, "9-11"}}, {Key: "qinq_ethtype", Value: "802.1q"},
					{Key: "priority", Value: 3}, {Key: "priority_override", Value: false}, {Key: "priority_tags", Value: "if-nonzero"},
				},
			}},
			{PortInfo: control.PortInfo{
				Name: "vm3", Kind: control.KindGuest, State: control.StateConnecting,
				Socket: "/tmp/vm3.sock", Mode: "client", Queues: 1,
				VLAN: control.VLAN{Mode: "trunk"}, Flags: flags, LastError: "ring 1: descriptor 7 lies outside of guest memory",
				Counters: control.Counters{Reconnects: 3, Resets: control.Tally{"bad-ring": 1, "died": 2}},
			}},
			{PortInfo: control.PortInfo{
				Name: "wan", Kind: control.KindUplink, State: control.StateBlocked, Interface: "eth2", Queues: 1,
				VLAN: control.VLAN{Mode: "trunk"}, Loop: &control.Loop{Port: "lan", VLAN: 7, SinceS: 75, ExpireS: 20},
				Counters: control.Counters{
					Drops:       control.Tally{"loop-blocked": 57, "loop-probe": 3},
					NeighEvents: control.Tally{"suppressed": 0, "learned": 0, "changed": 0, "refused": 0, "limited": 0, "contended": 0, "malformed": 0},
					LoopEvents:  control.Tally{"probes": 4, "returned": 3, "uncut": 0, "ignored": 0, "blocks": 2},
				},
			}},
		},
		Running: []control.Capture{
			{ID: 3, Ports: control.List[string]{"vm1", "lan"}, Direction: "in", Snaplen: 128, Filter: "tcp port 80", Buffer: 4 << 20, AgeS: 75, Captured: 1234567},
			{ID: 4, All: true, Direction: "both", Drops: true, Snaplen: 262144, Buffer: 4 << 20, AgeS: 3, Captured: 20, Lost: 17},
		},
		Copies: []control.Mirror{
			{Name: "m1", SelectSrc: control.List[string]{"vm1", "lan"}, SelectVLAN: control.List[uint16]{5, 7}, Filter: "web", Output: "vm2", Frames: 1234, Bytes: 567890, Drops: 5},
			{Name: "remote", SelectAll: true, OutputVLAN: 900, Snaplen: 128},
		},
		Lists: []control.Filter{
			{
				Name: "web", Ingress: control.List[string]{"vm1"}, Egress: control.List[string]{"vm1", "lan"}, Mirrors: control.List[string]{"m1"},
				Default: control.FilterRule{Name: "default", Action: "drop", Frames: 7, Bytes: 420},
				Rules: control.List[control.FilterRule]{
					{Name: "arp", Action: "accept", Match: control.Settings{{Key: "ethertype", Value: []string{"arp"}}}, Frames: 3, Bytes: 126},
					{Name: "web", Action: "accept", Match: control.Settings{
						{Key: "src", Value: []string{"@admins", "10.1.0.0/16"}}, {Key: "proto", Value: []string{"tcp"}}, {Key: "dst_ports", Value: []string{"80", "443"}},
					}, Frames: 1234, Bytes: 567890},
					{Name: "back", Action: "accept", Match: control.Settings{{Key: "established", Value: true}}},
					{Name: "all", Action: "count"},
				},
			},
			{Name: "none", Default: control.FilterRule{Name: "default", Action: "accept"}},
		},
		Members: []control.Set{
			{
				Name: "admins", Filters: control.List[string]{"web"},
				SetEntries: control.SetEntries{Addresses: control.List[string]{"10.0.0.0/24", "fd00::1"}, Ports: control.List[control.PortRange]{"22", "8000-8080"}},
			},
			{Name: "empty"},
		},
		Entries: []control.FDBEntry{
			{MAC: "52:54:00:00:00:01", VLAN: 7, Port: "vm1", Type: "static"},
			{MAC: "52:54:00:00:00:99", VLAN: 0, Port: "lan", Type: "dynamic", AgeS: 17},
			{MAC: "52:54:00:00:00:02", VLAN: 0, Port: "vm3", Type: "dynamic"},
			{MAC: "52:54:00:00:00:66", All: true, Type: "blackhole"},
			{MAC: "52:54:00:00:00:05", VLAN: 5, Port: "vm3", Type: "sticky", AgeS: 4},
		},
		Neighs: []control.Neighbor{
			{IP: "10.0.0.1", MAC: "52:54:00:00:00:01", All: true, Port: "vm1", Type: "configured", State: "active"},
			{IP: "10.0.0.2", MAC: "52:54:00:00:00:02", Port: "vm3", Type: "learned", State: "contested", AgeS: 3},
			{IP: "fe80::1", MAC: "52:54:00:00:00:99", VLAN: 7, Type: "learned", State: "unseen", Router: true, Guarded: true, AgeS: 170},
		},
		Groups: control.MDB{
			Snooping: true,
			Entries: []control.MDBEntry{
				{Group: "239.1.1.1", Port: "vm2", Type: "dynamic", Mode: "include", ExpiresS: 200, Sources: []control.MDBSource{
					{Address: "10.0.0.5", ExpiresS: 200}, {Address: "10.0.0.6", ExpiresS: 3},
				}},
				{Group: "239.1.1.1", Port: "vm3", Type: "dynamic", Mode: "exclude", ExpiresS: 250, Sources: []control.MDBSource{
					{Address: "10.0.0.5", Blocked: true}, {Address: "10.0.0.7", ExpiresS: 100},
				}},
				{Group: "ff05::1:3", Port: "vm1", Type: "static", Mode: "include", Source: "2001:db8::5", Sources: []control.MDBSource{{Address: "2001:db8::5"}}},
				{Group: "ff05::1:3", Port: "vm3", Type: "dynamic", Mode: "exclude", ExpiresS: 7},
				{Group: "239.1.1.1", VLAN: 7, Port: "vm1", Type: "dynamic", Mode: "exclude", ExpiresS: 260},
				{Group: "239.1.1.2", VLAN: 7, Port: "vm1", Type: "static", Mode: "exclude"},
			},
			Networks: []control.MDBNet{
				{IPVersion: 4, Querier: "10.0.0.1", ExpiresS: 240, Routers: []string{"lan", "vm2"}},
				{IPVersion: 6, Flooding: true, Routers: []string{"lan"}},
				{VLAN: 7, IPVersion: 4, Querier: "0.0.0.0", Own: true, ExpiresS: 255, Flooding: true},
			},
		},
	}
}
