package vhostuser

// State is everything that a front-end has sent about itself and its device, and nothing else: the
// rest of the session (mappings, queues) follows from it. It has no pointers into the session, so a
// copy can be displayed, stored, or passed to a successor that continues with the same guest. The
// names in JSON are those of the documents of a hand-over (docs/upgrade.md).
//
// The session owns the file descriptors. In a copy they are numbers for display.
type State struct {
	Owned            bool         `json:"owned"`             // SET_OWNER was received
	Features         uint64       `json:"features"`          // virtio features acknowledged
	ProtocolFeatures uint64       `json:"protocol_features"` // protocol features acknowledged
	FeaturesRefused  bool         `json:"features_refused"`  // the last SET_FEATURES was refused
	Status           uint8        `json:"status"`            // device status (virtio 1.2, section 2.1); 0: or not sent
	MTU              int          `json:"mtu"`               // of the guest's network, in bytes; 0: not set
	BackendFD        int          `json:"backend_fd"`        // socket for requests to the front-end; -1: none
	Log              Log          `json:"log"`
	Inflight         InflightArea `json:"inflight"`
	Regions          []Region     `json:"regions"`
	Vrings           []Vring      `json:"vrings"` // by index, of length Device.MaxVrings
}

// Log is the log of dirty pages, for live migration.
type Log struct {
	Size    uint64 `json:"size"`     // bytes
	Offset  uint64 `json:"offset"`   // bytes from the beginning of the file
	FD      int    `json:"fd"`       // the file; -1: none
	EventFD int    `json:"event_fd"` // eventfd of SET_LOG_FD; -1: none
}

// InflightArea is memory for descriptors in flight, which outlives the back-end.
type InflightArea struct {
	Inflight
	FD int `json:"fd"` // the file; -1: none
}

// Region is a piece of guest memory: a mapped part of a file.
type Region struct {
	GuestAddr  uint64 `json:"guest_addr"`  // guest-physical
	UserAddr   uint64 `json:"user_addr"`   // front-end virtual, like ring addresses
	Size       uint64 `json:"size"`        // bytes
	MmapOffset uint64 `json:"mmap_offset"` // bytes from the beginning of the file
	FD         int    `json:"fd"`
	PageSize   uint64 `json:"page_size"` // of the file, in bytes; larger than a page's with huge pages
	Adds       int    `json:"adds"`      // number of ADD_MEM_REG less that of REM_MEM_REG; see Session.addMemReg
}

// same reports whether two descriptions name the same piece of guest memory. REM_MEM_REG: "The
// memory region to be removed is identified by its guest address, user address and size. The mmap
// offset is ignored."
func (r Region) same(o Region) bool {
	return r.GuestAddr == o.GuestAddr && r.UserAddr == o.UserAddr && r.Size == o.Size
}

// Vring is the configuration of one virtqueue.
type Vring struct {
	Size int `json:"size"` // entries; 0: not set yet

	HasAddr bool   `json:"has_addr"` // SET_VRING_ADDR was received; the next five are valid
	Flags   uint32 `json:"flags"`    // VringFlagLog
	Desc    uint64 `json:"desc"`     // front-end virtual addresses
	Used    uint64 `json:"used"`
	Avail   uint64 `json:"avail"`
	Log     uint64 `json:"log"` // guest address for logging writes to the used ring

	// Base is the position at which a stopped ring continues: "the next descriptor index to
	// process in the Available Ring", free-running, in bits 0 to 15. (Packed rings use all 32
	// bits.) While the ring runs only its queue knows the position.
	Base uint32 `json:"base"`

	// Eventfds; -1: none.
	Kick    int  `json:"kick"`
	Call    int  `json:"call"`
	Err     int  `json:"err"`
	OwnKick bool `json:"own_kick"` // Kick was made here, for VRING_KICK
	HasCall bool `json:"has_call"` // SET_VRING_CALL was received; if not, Call may be one for VRING_CALL

	// CallSocket is the socket that SET_VRING_CALL passed instead of an eventfd; -1: none. Call
	// was then made here.
	CallSocket int `json:"call_socket"`

	// "Rings have two independent states: started/stopped, and enabled/disabled."
	Started bool `json:"started"`
	Enabled bool `json:"enabled"`

	// Running says that the device has the ring. A started ring is not running while it is
	// suspended: no memory region contains it, or its log is missing.
	Running bool `json:"running"`
}

// inUse reports whether a driver uses the ring, according to the messages of its front-end.
func (v Vring) inUse() bool { return v.Started && v.Enabled }

// VringFlagLog in Vring.Flags asks to log writes to the used ring (VHOST_VRING_F_LOG, bit 0).
const VringFlagLog = 1 << 0

// newState returns the state at the start of a session. "Each ring is initialized in a stopped and
// disabled state."
func newState(vrings int) State {
	st := State{
		BackendFD: -1,
		Log:       Log{FD: -1, EventFD: -1},
		Inflight:  InflightArea{FD: -1},
		Vrings:    make([]Vring, vrings),
	}
	for i := range st.Vrings {
		st.Vrings[i] = Vring{Kick: -1, Call: -1, Err: -1, CallSocket: -1}
	}
	return st
}

// clone returns a copy that shares nothing with st.
func (st State) clone() State {
	st.Regions = append([]Region(nil), st.Regions...)
	st.Vrings = append([]Vring(nil), st.Vrings...)
	return st
}
