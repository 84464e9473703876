package control

// PortDetail answers GET /v1/ports/{name}.
type PortDetail struct {
	PortInfo

	// Of a guest that is connected: what it was offered, and what of that it has not
	// acknowledged, by name.
	FeatureBits              List[FeatureBit] `json:"feature_bits"`
	ProtocolFeatureBits      List[FeatureBit] `json:"protocol_feature_bits"`
	FeaturesNotAcked         List[string]     `json:"features_not_acked"`
	ProtocolFeaturesNotAcked List[string]     `json:"protocol_features_not_acked"`

	Session *Session `json:"session,omitempty"` // of a guest whose front-end is connected
	Hint    string   `json:"hint,omitempty"`    // what is likely wrong with a guest's front-end

	SlowedMessages uint64 `json:"slowed_messages"` // that a guest's front-ends sent faster than they are taken

	LastEnd   *End         `json:"last_end,omitempty"`  // of the session before
	Memory    *Memory      `json:"memory,omitempty"`    // of a guest: what its front-end may map
	Reception *Reception   `json:"reception,omitempty"` // of an uplink
	Rings     List[Ring]   `json:"rings"`
	Regions   List[Region] `json:"regions"`
}

// Memory is how much of a front-end's memory is mapped, and how much may be.
type Memory struct {
	Mapped uint64 `json:"mapped"` // bytes of address space: guest memory, log and record of descriptors in flight
	Max    uint64 `json:"max"`    // bytes, as configured: max_memory
	Slots  int    `json:"slots"`  // regions of guest memory
}

// Reception is what an uplink's interface has been told to receive, and how.
type Reception struct {
	Promiscuous bool `json:"promiscuous"` // everything; else frames to the interface, to stations and to groups
	Addresses   int  `json:"addresses"`   // of stations, that the interface has been told
	LeftOut     int  `json:"left_out"`    // of stations, that are too many for that
	LRO         bool `json:"lro"`         // the interface merges frames and cannot be kept from that
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
	Number         uint64       `json:"number"`        // 1: the port's first
	PeerPID        int          `json:"peer_pid"`      // process that is connected; 0: not known
	OtherWaiting   bool         `json:"other_waiting"` // another front-end is waiting for this one to leave
	Owned          bool         `json:"owned"`         // SET_OWNER was received
	DeviceStatus   DeviceStatus `json:"device_status"`
	BackendChannel string       `json:"backend_channel"` // for requests to the front-end: "none", "open" or "closed"
	DirtyLog       DirtyLog     `json:"dirty_log"`
	InFlight       InFlight     `json:"in_flight"`

	ControlQueue *ControlQueue `json:"control_queue,omitempty"` // of a front-end that has acknowledged CTRL_VQ
}

// ControlQueue is what a guest's driver has commanded its device.
type ControlQueue struct {
	Ring       int    `json:"ring"`
	QueuePairs int    `json:"queue_pairs"` // that the driver uses
	Commands   uint64 `json:"commands"`
	Refused    uint64 `json:"refused"`

	// Receives lists which frames the driver receives: "all", or "own" and further ones of "all-unicast",
	// "all-multicast" and "broadcast"; besides, those to the addresses listed, and untagged ones and those
	// of the VLANs listed.
	Receives  List[string]  `json:"receives"`
	Unicast   List[string]  `json:"unicast"`
	Multicast List[string]  `json:"multicast"`
	VLANs     *List[uint16] `json:"vlans,omitempty"` // absent: all

	OffloadsOff List[string] `json:"offloads_off"` // features that are negotiated, and off
}

// DeviceStatus is how far the driver is, 0 if the front-end does not tell.
type DeviceStatus struct {
	Value uint8        `json:"value"`
	Names List[string] `json:"names"`
}

// DirtyLog is the log of pages that are written during a live migration.
type DirtyLog struct {
	On      bool   `json:"on"`      // LOG_ALL is acknowledged
	Present bool   `json:"present"` // there is memory for it, about which the rest is
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

// End is how a session ended.
type End struct {
	Reason string `json:"reason"`
	AgoS   int64  `json:"ago_s"` // whole seconds
}

// Ring is one virtqueue of a guest. Even indices are the guest's receive
// queues, odd ones its transmit queues.
//
// Of a packed ring Avail, Used and Base are places, and the wrap counters beside them.
type Ring struct {
	Index     int    `json:"index"`
	Direction string `json:"direction"` // "to-guest", "from-guest" or "control"
	Format    string `json:"format"`    // "split" or "packed"
	Size      int    `json:"size"`      // descriptors

	Enabled bool   `json:"enabled"`
	Started bool   `json:"started"`
	Running bool   `json:"running"`          // a ring that is started rests while its memory is gone
	Broken  string `json:"broken,omitempty"` // why nothing is taken from it any more

	AvailIdx  *uint16 `json:"avail_idx,omitempty"` // of a split ring, as the driver has published it
	Avail     uint16  `json:"avail"`               // next available entry that the switch will take ...
	LastAvail uint16  `json:"last_avail"`          // ... as the specifications call it
	Used      uint16  `json:"used"`                // next used entry that it will write
	AvailWrap *int    `json:"avail_wrap,omitempty"`
	UsedWrap  *int    `json:"used_wrap,omitempty"`
	Base      uint32  `json:"base"`      // as GET_VRING_BASE would return it
	Waiting   int     `json:"waiting"`   // chains that are available and were not taken
	InFlight  int     `json:"in_flight"` // chains (packed: descriptors) that were taken and are not used
	Recorded  bool    `json:"recorded"`  // in memory that outlives vswitchd

	Kicks       uint64 `json:"kicks"`
	Calls       uint64 `json:"calls"`
	BadChains   uint64 `json:"bad_chains"`
	KickBy      string `json:"kick_by"`     // "eventfd", "message" or "none": it is polled
	CallBy      string `json:"call_by"`     // "eventfd", "socket", "message" or "none"
	Suppression string `json:"suppression"` // "event-idx", "flags" or "none"
	Polling     bool   `json:"polling"`     // no kick is needed now
	WantKicks   Notify `json:"want_kicks"`  // what the driver was told
	WantCalls   Notify `json:"want_calls"`  // what the driver says

	DescAddr  uint64 `json:"desc_addr"` // in the front-end's address space, as the next two
	AvailAddr uint64 `json:"avail_addr"`
	UsedAddr  uint64 `json:"used_addr"`
	LogUsed   bool   `json:"log_used"` // what is written to the used ring is logged ...
	LogAddr   uint64 `json:"log_addr"` // ... at this guest address
}

// Notify says when one side of a ring wants to be notified.
type Notify struct {
	When  string  `json:"when"`            // "always", "never", "at-event" or "unknown"
	Event *uint16 `json:"event,omitempty"` // at-event: index (packed: place) that has to be passed
	Wrap  *int    `json:"wrap,omitempty"`  // packed: its wrap counter
}

// Region is a piece of guest memory that is mapped.
type Region struct {
	GuestAddr  uint64 `json:"guest_addr"`  // guest-physical
	UserAddr   uint64 `json:"user_addr"`   // in the front-end's address space
	Size       uint64 `json:"size"`        // bytes
	FileOffset uint64 `json:"file_offset"` // bytes from the beginning of the file
	PageSize   uint64 `json:"page_size"`   // of the file, in bytes
}
