package control

import "encoding/json"

// SwitchStatus is what a Backend tells of the switch as a whole.
type SwitchStatus struct {
	Version    string       `json:"version"`
	UptimeS    int64        `json:"uptime_s"`    // whole seconds
	FDBEntries int          `json:"fdb_entries"` // dynamic and static
	FDBSize    int          `json:"fdb_size"`    // most entries it can hold
	MACAgingS  int64        `json:"mac_aging_s"` // whole seconds
	FDBEvents  Tally        `json:"fdb_events"`  // what happened to addresses, at all ports together; those that are 0 are there
	Workers    List[Worker] `json:"workers"`
}

// SwitchInfo answers GET /v1/switch.
type SwitchInfo struct {
	SwitchStatus
	Ports  List[PortStats] `json:"ports"`
	Totals Counters        `json:"totals"` // sums over Ports
}

// Worker is one data-plane thread.
type Worker struct {
	CPU       int     `json:"cpu"`        // the CPU it is pinned to; -1: none
	BusyRatio float64 `json:"busy_ratio"` // share of the time since start that it spent in rounds with frames, 0 to 1
	BusyS     float64 `json:"busy_s"`     // the same in seconds
	Frames    uint64  `json:"frames"`     // frames it took in
	Wakeups   uint64  `json:"wakeups"`    // times it woke from sleep
	Sources   int     `json:"sources"`    // transmit queues and uplinks that it serves
	Moved     uint64  `json:"moved"`      // sources that were moved to it because another worker was busier
}

// Kind is what is behind a port.
type Kind string

// Values of Kind.
const (
	KindGuest  Kind = "guest"
	KindUplink Kind = "uplink"
)

// State is how far a port has come.
type State string

// Values of State.
const (
	StateListening  State = "listening"  // waits for a front-end to connect
	StateConnecting State = "connecting" // client mode: tries to connect
	StateConnected  State = "connected"  // a front-end is there, its driver is not running
	StateRunning    State = "running"    // frames can pass
	StateWaiting    State = "waiting"    // an uplink's interface cannot pass frames now; PortInfo.LastError says why
	StateError      State = "error"      // not working; PortInfo.LastError says why
)

// PortInfo is a port as GET /v1/ports lists it.
type PortInfo struct {
	Name             string       `json:"name"`
	Kind             Kind         `json:"kind"`
	State            State        `json:"state"`
	Socket           string       `json:"socket,omitempty"`    // of a guest
	Mode             string       `json:"mode,omitempty"`      // of a guest: "server" or "client"
	Interface        string       `json:"interface,omitempty"` // of an uplink
	Queues           int          `json:"queues"`              // queue pairs in use; those offered while nobody is connected
	Features         List[string] `json:"features"`            // negotiated virtio features, by name
	ProtocolFeatures List[string] `json:"protocol_features"`   // negotiated vhost-user protocol features, by name
	Offloads         List[string] `json:"offloads"`            // offered to a guest that connects, as configured
	MTU              int          `json:"mtu"`                 // bytes; 0: not known
	MAC              string       `json:"mac,omitempty"`       // pinned address
	VLAN             VLAN         `json:"vlan"`
	Flags            Settings     `json:"flags"`                // how the switch treats the port in any VLAN, as configured
	Settings         Settings     `json:"settings"`             // all that is configured, and defaults
	HostMACs         List[string] `json:"host_macs"`            // of an uplink: the host's own addresses on the interface, pinned too
	FDB              FDBCount     `json:"fdb"`                  // entries that the port has now
	LastError        string       `json:"last_error,omitempty"` // why the port was last reset, or does not work
	Counters         Counters     `json:"counters"`
}

// FDBCount says how many entries a port has in the FDB.
type FDBCount struct {
	Dynamic int `json:"dynamic"` // learned
	Static  int `json:"static"`  // pinned ones included
}

// VLAN is a port's VLAN set-up.
type VLAN struct {
	Mode   string       `json:"mode"`   // as vlan_mode in the configuration, never empty
	Tag    uint16       `json:"tag"`    // 0: none
	Trunks List[uint16] `json:"trunks"` // empty: all
}

// Counters count since vswitchd started. Rx is what the switch received from
// the port, tx what it sent to it.
type Counters struct {
	RxFrames   uint64 `json:"rx_frames"`
	RxBytes    uint64 `json:"rx_bytes"`
	TxFrames   uint64 `json:"tx_frames"`
	TxBytes    uint64 `json:"tx_bytes"`
	Drops      Tally  `json:"drops"`      // frames that went no further
	Kicks      uint64 `json:"kicks"`      // notifications from the guest
	Calls      uint64 `json:"calls"`      // notifications to the guest
	Reconnects uint64 `json:"reconnects"` // times a front-end came, the first not counted
	FDBEvents  Tally  `json:"fdb_events"` // what happened to addresses of the port; those that are 0 are there
	Resets     Tally  `json:"resets"`     // times a front-end did not leave in order
}

// FDBEntry is an element of the answer to GET /v1/fdb.
type FDBEntry struct {
	MAC  string `json:"mac"` // lower case, with colons
	VLAN uint16 `json:"vlan"`
	All  bool   `json:"all_vlans"` // in every VLAN; VLAN is that of the port's untagged frames
	Port string `json:"port"`
	Type string `json:"type"`  // "dynamic" or "static"
	AgeS int64  `json:"age_s"` // whole seconds since it was last seen; 0 for static entries
}

// PortStats answers GET /v1/stats/{port}, and is an element of the answer to
// GET /v1/stats.
type PortStats struct {
	Name     string   `json:"name"`
	Kind     Kind     `json:"kind"`
	State    State    `json:"state"`
	Counters Counters `json:"counters"`
}

// ReloadResult answers POST /v1/reload.
type ReloadResult struct {
	Changed List[string] `json:"changed"` // one line for each thing that changed
}

// errorBody is the body of every answer with a status of 400 or more.
type errorBody struct {
	Error   string   `json:"error"`             // one line
	Details []string `json:"details,omitempty"` // more lines, such as the errors of a file
}

// List is a slice that is [] in JSON, never null.
type List[T any] []T

// MarshalJSON implements json.Marshaler.
func (l List[T]) MarshalJSON() ([]byte, error) {
	if l == nil {
		return []byte("[]"), nil
	}
	return json.Marshal([]T(l))
}

// Tally counts by the name of a reason. It is {} in JSON where there is nothing,
// never null. Reasons with 0 may be missing.
type Tally map[string]uint64

// MarshalJSON implements json.Marshaler.
func (t Tally) MarshalJSON() ([]byte, error) {
	if t == nil {
		return []byte("{}"), nil
	}
	return json.Marshal(map[string]uint64(t))
}

// Total returns the sum over all reasons.
func (t Tally) Total() uint64 {
	var n uint64
	for _, c := range t {
		n += c
	}
	return n
}
