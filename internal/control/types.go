package control

import "encoding/json"

// SwitchStatus is a Backend's description of the switch as a whole.
type SwitchStatus struct {
	Version    string       `json:"version"`
	PID        int          `json:"pid"`         // its process
	Started    string       `json:"started"`     // RFC 3339, with nanoseconds; differs for each run
	UptimeS    int64        `json:"uptime_s"`    // whole seconds
	UptimeNS   int64        `json:"uptime_ns"`   // in nanoseconds, by a clock that nobody sets
	FDBEntries int          `json:"fdb_entries"` // dynamic and static
	FDBSize    int          `json:"fdb_size"`    // largest number of entries
	MACAgingS  int64        `json:"mac_aging_s"` // whole seconds
	FDBEvents  Tally        `json:"fdb_events"`  // of all ports together; includes zeros
	Workers    List[Worker] `json:"workers"`
	Processors int          `json:"processors"` // that vswitchd may run on
	Limits     List[Limit]  `json:"limits"`     // of what all front-ends share

	MDBEntries  int   `json:"mdb_entries"`  // memberships of ports in multicast groups
	McastEvents Tally `json:"mcast_events"` // of all ports together; includes zeros

	Captures CaptureTotals `json:"captures"`
	Sandbox  Sandbox       `json:"sandbox"`
}

// Sandbox is what the process can still do.
type Sandbox struct {
	Parts        List[SandboxPart] `json:"parts"`
	Capabilities List[string]      `json:"capabilities"` // that the process has, such as CAP_NET_RAW
	Read         List[string]      `json:"read"`         // with Landlock: what is read besides Write, /proc and /sys
	Write        List[string]      `json:"write"`        // with Landlock: the directories in which files are made
}

// SandboxPart is a part of the sandbox.
type SandboxPart struct {
	Name   string `json:"name"`             // the key of [sandbox]: "landlock"
	State  string `json:"state"`            // one of SandboxStates
	Detail string `json:"detail,omitempty"` // why the part is not on, or in which version it is
}

// SandboxStates are the values of SandboxPart.State: the part holds, is switched off, does not
// exist in this kernel, or could not be entered.
var SandboxStates = []string{"on", "off", "unavailable", "failed"}

// SwitchInfo answers GET /v1/switch.
type SwitchInfo struct {
	SwitchStatus
	Ports  List[PortStats] `json:"ports"`
	Totals Counters        `json:"totals"` // sums over Ports
}

// Worker is one data-plane thread.
type Worker struct {
	CPU       int     `json:"cpu"`        // the CPU that it is pinned to; -1: none
	BusyRatio float64 `json:"busy_ratio"` // fraction of time in rounds with frames, 0 to 1
	BusyS     float64 `json:"busy_s"`     // the same in seconds
	Frames    uint64  `json:"frames"`     // frames that it received
	Wakeups   uint64  `json:"wakeups"`    // number of times it woke from sleep
	Sources   int     `json:"sources"`    // transmit queues and uplinks that it serves
	Moved     uint64  `json:"moved"`      // sources moved to it because another worker was busier
	CPUS      float64 `json:"cpu_s"`      // processor time of its thread, in seconds
	WaitedS   float64 `json:"waited_s"`   // seconds for which it was ready and had no processor

	Pauses     uint64    `json:"pauses"`      // sleeps of a fixed time between two polls
	Pausing    bool      `json:"pausing"`     // it polls with pauses
	Asleep     bool      `json:"asleep"`      // it waits for events, and does not poll
	AwakeS     float64   `json:"awake_s"`     // seconds that it was not asleep: busy, or polling in vain
	EmptyPolls uint64    `json:"empty_polls"` // polls of a source that found nothing
	Batches    Histogram `json:"batches"`     // frames that a poll found, if any
	Latency    Histogram `json:"latency"`     // seconds from a kick to the end of the batch that followed
}

// Histogram counts values by their size.
type Histogram struct {
	Bounds List[float64] `json:"bounds"` // rising
	Counts List[uint64]  `json:"counts"` // of values up to each bound, and beyond the previous one; last, beyond all
	Sum    float64       `json:"sum"`    // of the values
}

// Limit is a resource of the process that all front-ends share.
type Limit struct {
	Resource string `json:"resource"` // "address-space", "mappings", "file-descriptors" or "memory"
	Used     uint64 `json:"used"`     // by front-ends, in bytes or by number; of memory, by whom the limit is for
	Limit    uint64 `json:"limit"`    // for front-ends together
	SetBy    string `json:"set_by"`   // setting of the system that limits it
}

// Kind is what a port connects to.
type Kind string

// Values of Kind.
const (
	KindGuest  Kind = "guest"
	KindUplink Kind = "uplink"
	KindHost   Kind = "host"
)

// Kinds are the values of Kind.
var Kinds = []Kind{KindGuest, KindUplink, KindHost}

// State is the state of a port.
type State string

// Values of State.
const (
	StateListening  State = "listening"  // waits for a front-end to connect
	StateConnecting State = "connecting" // client mode: tries to connect
	StateConnected  State = "connected"  // a front-end is connected, its driver is not running
	StateRunning    State = "running"    // frames can pass
	StateWaiting    State = "waiting"    // the interface is down: see PortInfo.LastError
	StateBlocked    State = "blocked"    // because of a loop: see PortInfo.Loop
	StateError      State = "error"      // not working: see PortInfo.LastError
)

// Links are the values of PortInfo.Link: an interface is up, has no carrier, is set down, does not
// exist, is used by another uplink, or cannot be used (see PortInfo.LastError).
var Links = []string{"up", "no-carrier", "down", "absent", "taken", "error"}

// PortInfo is a port in the answer to GET /v1/ports.
type PortInfo struct {
	Name             string       `json:"name"`
	Kind             Kind         `json:"kind"`
	State            State        `json:"state"`
	Socket           string       `json:"socket,omitempty"`    // guest only
	Mode             string       `json:"mode,omitempty"`      // guest only: "server" or "client"
	Interface        string       `json:"interface,omitempty"` // uplink and host only
	Queues           int          `json:"queues"`              // queue pairs in use, or offered
	Features         List[string] `json:"features"`            // negotiated virtio features
	ProtocolFeatures List[string] `json:"protocol_features"`   // negotiated vhost-user features
	Offloads         List[string] `json:"offloads"`            // configured, for the next front-end
	MTU              int          `json:"mtu"`                 // bytes; 0: not known
	MAC              string       `json:"mac,omitempty"`       // pinned address
	VLAN             VLAN         `json:"vlan"`
	Flags            Settings     `json:"flags"`                // for all VLANs, as configured
	Settings         Settings     `json:"settings"`             // all keys, with defaults
	HostMACs         List[string] `json:"host_macs"`            // uplink and host only: pinned, too
	FDB              FDBCount     `json:"fdb"`                  // current entries of the port
	LastError        string       `json:"last_error,omitempty"` // of the last reset, or for State
	Link             string       `json:"link,omitempty"`       // uplink and host only: one of Links
	Loop             *Loop        `json:"loop,omitempty"`       // of a port that is blocked
	Counters         Counters     `json:"counters"`
}

// Loop is why a port is blocked.
type Loop struct {
	Port    string `json:"port"` // the other port of the loop; the port itself if the loop is behind it
	VLAN    uint16 `json:"vlan"`
	SinceS  int64  `json:"since_s"`  // whole seconds since the port was blocked
	ExpireS int64  `json:"expire_s"` // whole seconds until the end, if the loop is gone then
}

// FDBCount is the number of a port's entries in the FDB.
type FDBCount struct {
	Dynamic int `json:"dynamic"` // learned
	Static  int `json:"static"`  // including pinned ones
}

// VLAN is a port's VLAN configuration.
type VLAN struct {
	Mode   string       `json:"mode"`   // as vlan_mode in the configuration, never empty
	Tag    uint16       `json:"tag"`    // 0: none
	Trunks List[uint16] `json:"trunks"` // empty: all
	CVLANs List[uint16] `json:"cvlans"` // of a customer, with mode dot1q-tunnel; empty: all
}

// Counters count since vswitchd started. Rx counts what the switch received from the port, tx what
// it sent to the port.
type Counters struct {
	RxFrames   uint64 `json:"rx_frames"`
	RxBytes    uint64 `json:"rx_bytes"`
	TxFrames   uint64 `json:"tx_frames"`
	TxBytes    uint64 `json:"tx_bytes"`
	Drops      Tally  `json:"drops"`      // frames that were dropped
	Kicks      uint64 `json:"kicks"`      // notifications from the guest
	Calls      uint64 `json:"calls"`      // notifications to the guest
	Reconnects uint64 `json:"reconnects"` // front-ends that connected, without the first
	Waited     uint64 `json:"waited"`     // guest only: frames that had to wait for receive buffers
	FDBEvents  Tally  `json:"fdb_events"` // events of the port's addresses; includes zeros
	Resets     Tally  `json:"resets"`     // sessions that did not end in an orderly way

	McastEvents Tally `json:"mcast_events"` // events of multicast snooping; includes zeros

	NeighReplies uint64 `json:"neigh_replies"` // requests answered for other stations
	NeighEvents  Tally  `json:"neigh_events"`  // other events of the neighbor table; includes zeros

	LoopEvents Tally `json:"loop_events"` // events of loop detection; includes zeros
}

// Mirror is an element of the answer to GET /v1/mirrors. Its settings are those of the
// configuration.
type Mirror struct {
	Name       string       `json:"name"`
	SelectAll  bool         `json:"select_all"`
	SelectSrc  List[string] `json:"select_src"`
	SelectDst  List[string] `json:"select_dst"`
	SelectVLAN List[uint16] `json:"select_vlan"`
	Filter     string       `json:"filter,omitempty"`
	Output     string       `json:"output,omitempty"`
	OutputVLAN uint16       `json:"output_vlan,omitempty"`
	Snaplen    int          `json:"snaplen"`
	Frames     uint64       `json:"frames"` // copies
	Bytes      uint64       `json:"bytes"`  // of the copies
	Drops      uint64       `json:"drops"`  // copies that the output has not taken
}

// Filter answers GET /v1/filters/{name}, and is an element of the answer to GET /v1/filters.
type Filter struct {
	Name    string           `json:"name"`
	Default FilterRule       `json:"default"` // what happens to frames that no rule decides about
	Rules   List[FilterRule] `json:"rules"`
	Ingress List[string]     `json:"ingress"` // ports whose ingress_filter it is
	Egress  List[string]     `json:"egress"`  // ports whose egress_filter it is
	Mirrors List[string]     `json:"mirrors"` // mirrors whose filter it is
}

// FilterRule is a rule of a filter, with the frames that have matched it on all ports.
type FilterRule struct {
	Name   string   `json:"name"`
	Action string   `json:"action"` // "accept", "drop" or "count"
	Match  Settings `json:"match"`  // the keys that it sets, as in the configuration
	Frames uint64   `json:"frames"`
	Bytes  uint64   `json:"bytes"`
}

// Set answers GET /v1/sets/{name}, and is an element of the answer to GET /v1/sets.
type Set struct {
	Name string `json:"name"`
	SetEntries
	Filters List[string] `json:"filters"` // filters whose rules name it
}

// SetEntries are entries of a set, and the body of PUT /v1/sets/{name}.
type SetEntries struct {
	Addresses List[string]    `json:"addresses"` // IP addresses and prefixes
	Ports     List[PortRange] `json:"ports"`
}

// PortRange is a port or a range such as "8000-8080". In a request it may also be a number.
type PortRange string

// UnmarshalJSON implements json.Unmarshaler.
func (p *PortRange) UnmarshalJSON(data []byte) error {
	var n uint16
	if err := json.Unmarshal(data, &n); err == nil {
		*p = PortRange(data)
		return nil
	}
	return json.Unmarshal(data, (*string)(p))
}

// SetChange is a change of a set: its entries are replaced, or some are removed and others added.
// It is the body of PATCH /v1/sets/{name}.
type SetChange struct {
	Replace *SetEntries `json:"-"`
	Add     *SetEntries `json:"add,omitempty"`
	Del     *SetEntries `json:"del,omitempty"`
}

// FDBEntry is an element of the answer to GET /v1/fdb.
type FDBEntry struct {
	MAC  string `json:"mac"` // lower case, with colons
	VLAN uint16 `json:"vlan"`
	All  bool   `json:"all_vlans"` // valid in every VLAN; VLAN is then the port's untagged one
	Port string `json:"port"`      // "" for a blackhole
	Type string `json:"type"`      // one of FDBTypes
	AgeS int64  `json:"age_s"`     // whole seconds since it was last seen; 0 if it does not age
}

// FDBRemoved answers DELETE /v1/fdb and DELETE /v1/fdb/{mac}.
type FDBRemoved struct {
	Removed int `json:"removed"` // entries
}

// Neighbor is an element of the answer to GET /v1/neigh.
type Neighbor struct {
	IP      string `json:"ip"`
	MAC     string `json:"mac"` // lower case, with colons
	VLAN    uint16 `json:"vlan"`
	All     bool   `json:"all_vlans"`      // valid in every VLAN
	Port    string `json:"port,omitempty"` // behind which the MAC address is
	Type    string `json:"type"`           // "configured" or "learned"
	State   string `json:"state"`          // "active", "contested" or "unseen"
	Router  bool   `json:"router"`
	Guarded bool   `json:"guarded"` // learned from a port whose guard allows it the address
	AgeS    int64  `json:"age_s"`   // whole seconds since the last message, if learned
}

// MDB answers GET /v1/mdb: the multicast database.
type MDB struct {
	Snooping bool           `json:"snooping"` // as configured
	Entries  List[MDBEntry] `json:"entries"`
	Networks List[MDBNet]   `json:"networks"`
}

// MDBEntry says that a port is a member of a multicast group.
type MDBEntry struct {
	Group    string `json:"group"` // IP address
	VLAN     uint16 `json:"vlan"`
	Port     string `json:"port"`
	Type     string `json:"type"`             // "dynamic" or "static"
	Source   string `json:"source,omitempty"` // IP address; only for a static entry: the one source
	Mode     string `json:"mode"`             // "include": what comes from Sources; "exclude": from others, too
	ExpiresS int64  `json:"expires_s"`        // whole seconds, if no report renews the entry; 0 if it is static

	Sources List[MDBSource] `json:"sources"` // sorted
}

// MDBSource is a source that an MDBEntry distinguishes.
type MDBSource struct {
	Address  string `json:"address"`   // IP address
	Blocked  bool   `json:"blocked"`   // the port does not get what comes from it; only with "exclude"
	ExpiresS int64  `json:"expires_s"` // whole seconds, if no report renews it; 0 if it is blocked or static
}

// MDBNet is what is known of multicast routers in a VLAN, for one IP version.
type MDBNet struct {
	VLAN      uint16       `json:"vlan"`
	IPVersion int          `json:"ip_version"`        // 4 or 6
	Querier   string       `json:"querier,omitempty"` // IP address of the querier that is present
	Own       bool         `json:"own"`               // the querier is this switch
	ExpiresS  int64        `json:"expires_s"`         // whole seconds until the querier is considered absent
	Flooding  bool         `json:"flooding"`          // multicast goes to all ports: no querier, or too short a time
	Routers   List[string] `json:"routers"`           // ports behind which routers have announced themselves
}

// PortStats answers GET /v1/stats/{port}, and is an element of the answer to GET /v1/stats.
type PortStats struct {
	Name        string          `json:"name"`
	Kind        Kind            `json:"kind"`
	State       State           `json:"state"`
	LoopBlocked bool            `json:"loop_blocked"` // whatever the state
	FDB         FDBCount        `json:"fdb"`
	Backlog     *Backlog        `json:"backlog,omitempty"` // guest only
	Limits      List[PortLimit] `json:"limits"`            // those that are configured
	SinceS      int64           `json:"since_s"`           // whole seconds for which Counters have counted
	Reset       bool            `json:"reset"`             // they count since a reset
	Counters    Counters        `json:"counters"`
}

// StatsReset answers DELETE /v1/stats and DELETE /v1/stats/{name}.
type StatsReset struct {
	Ports int `json:"ports"` // whose counters were reset
}

// Backlog is what a guest's rings hold, those of all queues together; of a packed ring what is
// among the next 1024 descriptors.
type Backlog struct {
	Frames  int `json:"frames"`  // from the guest, that the switch has not taken yet
	Buffers int `json:"buffers"` // free ones, for frames to the guest

	// What waits in the switch until the guest makes receive buffers available.
	Held      int   `json:"held"`       // frames
	HeldBytes int64 `json:"held_bytes"` // of memory
}

// PortLimit is a rate or a storm control of a port.
type PortLimit struct {
	Key    string `json:"key"`              // its key in the configuration
	Bits   uint64 `json:"bits,omitempty"`   // per second
	Frames uint64 `json:"frames,omitempty"` // per second
}

// ErrorBody is the body of every answer with a status of 400 or more.
type ErrorBody struct {
	Error   string   `json:"error"`             // one line
	Details []string `json:"details,omitempty"` // more lines, such as the errors of a file
}

// List is a slice that is encoded in JSON as [] if it is empty, never as null.
type List[T any] []T

// MarshalJSON implements json.Marshaler.
func (l List[T]) MarshalJSON() ([]byte, error) {
	if l == nil {
		return []byte("[]"), nil
	}
	return json.Marshal([]T(l))
}

// Tally counts by the name of a reason. It is encoded in JSON as {} if it is empty, never as null.
// Reasons with 0 may be missing.
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
