package control

// PortDetail answers GET /v1/ports/{name}.
type PortDetail struct {
	PortInfo

	// Only of a connected guest: the features that it was offered, and the names of those that
	// it has not acknowledged.
	FeatureBits              List[FeatureBit] `json:"feature_bits"`
	ProtocolFeatureBits      List[FeatureBit] `json:"protocol_feature_bits"`
	FeaturesNotAcked         List[string]     `json:"features_not_acked"`
	ProtocolFeaturesNotAcked List[string]     `json:"protocol_features_not_acked"`

	Session *Session `json:"session,omitempty"` // of a guest whose front-end is connected
	Hint    string   `json:"hint,omitempty"`    // the likely mistake in a guest's configuration

	HintCause HintCause `json:"hint_cause,omitempty"` // the same for programs

	SlowedMessages uint64 `json:"slowed_messages"` // delayed messages of a guest's front-ends

	LastEnd   *End         `json:"last_end,omitempty"`  // of the previous session
	Memory    *Memory      `json:"memory,omitempty"`    // guest only: limits of mapped memory
	Reception *Reception   `json:"reception,omitempty"` // uplink only
	Announced uint64       `json:"announced,omitempty"` // uplink only: announcements of stations that it was sent
	Addresses List[string] `json:"addresses,omitempty"` // host only: of the interface, with prefix lengths
	Rings     List[Ring]   `json:"rings"`
	Regions   List[Region] `json:"regions"`
}

// HintCause is the likely mistake in a guest's configuration.
type HintCause string

// Values of HintCause.
const (
	HintMemoryNotShared HintCause = "memory-not-shared" // the guest's writes are not visible
	HintBigEndian       HintCause = "big-endian-driver" // a legacy driver of a big-endian guest
	HintNotVhostUser    HintCause = "not-vhost-user"    // the peer does not speak the protocol
	HintOffer           HintCause = "offer"             // the front-end needs more than the port offers
)

// Memory is the amount of a front-end's memory that is mapped, and its limits.
type Memory struct {
	Mapped uint64 `json:"mapped"` // bytes of address space: guest memory, log, in-flight record
	Max    uint64 `json:"max"`    // bytes, as configured: max_memory
	Slots  int    `json:"slots"`  // number of regions of guest memory
}

// Reception is how an uplink's interface is configured to receive.
type Reception struct {
	Promiscuous bool `json:"promiscuous"` // if not: frames to itself, stations, groups
	Addresses   int  `json:"addresses"`   // stations whose addresses the interface has been given
	LeftOut     int  `json:"left_out"`    // stations that exceed the limit of these
	LRO         bool `json:"lro"`         // merging of frames cannot be turned off
}

// FeatureBit is a feature that is offered.
type FeatureBit struct {
	Bit   int    `json:"bit"`
	Name  string `json:"name"` // "bit N" if it has none
	Acked bool   `json:"acked"`
}

// Session is a front-end's connection.
type Session struct {
	AgeS           int64        `json:"age_s"`         // whole seconds since it connected
	Number         uint64       `json:"number"`        // 1 for the port's first session
	PeerPID        int          `json:"peer_pid"`      // process that is connected; 0: not known
	OtherWaiting   bool         `json:"other_waiting"` // another front-end waits for the port
	Owned          bool         `json:"owned"`         // SET_OWNER was received
	DeviceStatus   DeviceStatus `json:"device_status"`
	BackendChannel string       `json:"backend_channel"` // "none", "open" or "closed"
	DirtyLog       DirtyLog     `json:"dirty_log"`
	InFlight       InFlight     `json:"in_flight"`

	// ControlQueue is present if the front-end has acknowledged CTRL_VQ.
	ControlQueue *ControlQueue `json:"control_queue,omitempty"`
}

// ControlQueue is the result of the commands that a guest's driver has sent to its device.
type ControlQueue struct {
	Ring       int    `json:"ring"`
	QueuePairs int    `json:"queue_pairs"` // used by the driver
	Commands   uint64 `json:"commands"`
	Refused    uint64 `json:"refused"`

	// Receives lists the frames that the driver receives: "all", or "own" and any of
	// "all-unicast", "all-multicast" and "broadcast"; in addition, those to the addresses in
	// Unicast and Multicast. Frames have to be untagged or in one of VLANs.
	Receives  List[string]  `json:"receives"`
	Unicast   List[string]  `json:"unicast"`
	Multicast List[string]  `json:"multicast"`
	VLANs     *List[uint16] `json:"vlans,omitempty"` // absent: all

	OffloadsOff List[string] `json:"offloads_off"` // negotiated features that the driver turned off
}

// DeviceStatus is the driver's status; 0 if the front-end does not send it.
type DeviceStatus struct {
	Value uint8        `json:"value"`
	Names List[string] `json:"names"`
}

// DirtyLog is the log of pages that are written during a live migration.
type DirtyLog struct {
	On      bool   `json:"on"`      // LOG_ALL is acknowledged
	Present bool   `json:"present"` // there is memory for it; the fields below are valid
	Size    uint64 `json:"size"`    // bytes
	Offset  uint64 `json:"offset"`  // bytes from the beginning of the file
}

// InFlight is memory for descriptors in flight, which outlives vswitchd.
type InFlight struct {
	Present   bool   `json:"present"`
	Size      uint64 `json:"size"`   // bytes
	Offset    uint64 `json:"offset"` // bytes from the beginning of the file
	Rings     int    `json:"rings"`
	QueueSize int    `json:"queue_size"` // descriptors
}

// End is the end of a session.
type End struct {
	Reason string `json:"reason"`
	AgoS   int64  `json:"ago_s"` // whole seconds
}

// Ring is one virtqueue of a guest. Even indices are the guest's receive queues, odd ones its
// transmit queues.
//
// In a packed ring Avail, Used and Base are indices of descriptors, with separate wrap counters.
type Ring struct {
	Index     int    `json:"index"`
	Direction string `json:"direction"` // "to-guest", "from-guest" or "control"
	Format    string `json:"format"`    // "split" or "packed"
	Size      int    `json:"size"`      // descriptors

	Enabled bool   `json:"enabled"`
	Started bool   `json:"started"`
	Running bool   `json:"running"`          // false if suspended: no memory, or no log
	Broken  string `json:"broken,omitempty"` // why chains are no longer popped from it

	AvailIdx  *uint16 `json:"avail_idx,omitempty"` // split ring only: as published by the driver
	Avail     uint16  `json:"avail"`               // next available entry to pop ...
	LastAvail uint16  `json:"last_avail"`          // ... by the specifications' name
	Used      uint16  `json:"used"`                // next used entry to write
	AvailWrap *int    `json:"avail_wrap,omitempty"`
	UsedWrap  *int    `json:"used_wrap,omitempty"`
	Base      uint32  `json:"base"`      // as GET_VRING_BASE would return it
	Waiting   int     `json:"waiting"`   // chains that are available and were not popped
	InFlight  int     `json:"in_flight"` // chains (packed: descriptors) popped and not used
	Recorded  bool    `json:"recorded"`  // InFlight is recorded in memory that outlives vswitchd

	Kicks       uint64 `json:"kicks"`
	Calls       uint64 `json:"calls"`
	BadChains   uint64 `json:"bad_chains"`
	KickBy      string `json:"kick_by"`     // "eventfd", "message" or "none": the ring is polled
	CallBy      string `json:"call_by"`     // "eventfd", "socket", "message" or "none"
	Suppression string `json:"suppression"` // "event-idx", "flags" or "none"
	Polling     bool   `json:"polling"`     // no kick is needed now
	WantKicks   Notify `json:"want_kicks"`  // the switch's request to the driver
	WantCalls   Notify `json:"want_calls"`  // the driver's request

	DescAddr  uint64 `json:"desc_addr"` // in the front-end's address space, like the next two
	AvailAddr uint64 `json:"avail_addr"`
	UsedAddr  uint64 `json:"used_addr"`
	LogUsed   bool   `json:"log_used"` // writes to the used ring are logged ...
	LogAddr   uint64 `json:"log_addr"` // ... at this guest address
}

// Notify says when one side of a ring asks to be notified.
type Notify struct {
	When  string  `json:"when"`            // "always", "never", "at-event" or "unknown"
	Event *uint16 `json:"event,omitempty"` // at-event: index (packed: of a descriptor) to be passed
	Wrap  *int    `json:"wrap,omitempty"`  // packed: its wrap counter
}

// Region is a mapped piece of guest memory.
type Region struct {
	GuestAddr  uint64 `json:"guest_addr"`  // guest-physical
	UserAddr   uint64 `json:"user_addr"`   // in the front-end's address space
	Size       uint64 `json:"size"`        // bytes
	FileOffset uint64 `json:"file_offset"` // bytes from the beginning of the file
	PageSize   uint64 `json:"page_size"`   // of the file, in bytes
}
