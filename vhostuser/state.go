package vhostuser

// State is all that a front-end has told about itself and its device, and
// nothing else: whatever the session has besides (mappings, queues) follows
// from it. It has no pointers into the session, so a copy of it can be shown,
// kept, or carried over to somebody who goes on with the same guest.
//
// File descriptors belong to the session. In a copy they are numbers to look at.
type State struct {
	Owned            bool   // SET_OWNER was received
	Features         uint64 // virtio features acknowledged
	ProtocolFeatures uint64 // protocol features acknowledged
	FeaturesRefused  bool   // the last SET_FEATURES was refused
	Status           uint8  // device status (virtio 1.2, section 2.1); 0 also if the front-end does not tell
	MTU              int    // of the guest's network, in bytes; 0: not told
	BackendFD        int    // socket for requests to the front-end; -1: none
	Log              Log
	Inflight         InflightArea
	Regions          []Region
	Vrings           []Vring // by index, of length Device.MaxVrings
}

// Log is the log of dirty pages, for live migration.
type Log struct {
	Size    uint64 // bytes
	Offset  uint64 // bytes from the beginning of the file
	FD      int    // the file; -1: none
	EventFD int    // eventfd of SET_LOG_FD; -1: none
}

// InflightArea is memory for descriptors in flight, which outlives the back-end.
type InflightArea struct {
	Inflight
	FD int // the file; -1: none
}

// Region is a piece of guest memory: a part of a file that we map.
type Region struct {
	GuestAddr  uint64 // where the guest sees it
	UserAddr   uint64 // where the front-end sees it; ring addresses are given in these terms
	Size       uint64 // bytes
	MmapOffset uint64 // bytes from the beginning of the file
	FD         int
	PageSize   uint64 // in bytes: that of the file, whose pages may be huge ones
	Adds       int    // how often ADD_MEM_REG has named it and REM_MEM_REG has not; see Session.addMemReg
}

// same says whether two descriptions name the same piece of guest memory.
// REM_MEM_REG: "The memory region to be removed is identified by its guest
// address, user address and size. The mmap offset is ignored."
func (r Region) same(o Region) bool {
	return r.GuestAddr == o.GuestAddr && r.UserAddr == o.UserAddr && r.Size == o.Size
}

// Vring is the configuration of one virtqueue.
type Vring struct {
	Size int // entries; 0: not set yet

	HasAddr bool   // SET_VRING_ADDR was received; the next five are valid
	Flags   uint32 // VringFlagLog
	Desc    uint64 // front-end virtual addresses
	Used    uint64
	Avail   uint64
	Log     uint64 // guest address for logging writes to the used ring

	// Base is where a stopped ring will go on: "the next descriptor index to
	// process in the Available Ring", free-running, in bits 0 to 15. (Packed
	// rings use all 32 bits.) While the ring runs only its queue knows.
	Base uint32

	Kick, Call, Err int  // eventfds; -1: none
	OwnKick         bool // Kick was made here, for VRING_KICK
	HasCall         bool // SET_VRING_CALL was received; else Call may have been made here, for VRING_CALL

	// CallSocket is what SET_VRING_CALL gave instead of an eventfd; -1: it did not. Call was made
	// here then.
	CallSocket int

	// "Rings have two independent states: started/stopped, and
	// enabled/disabled."
	Started bool
	Enabled bool

	// Running says that the device has the ring. A started ring is not running
	// while no memory region holds it.
	Running bool
}

// inUse tells whether a driver uses the ring, as far as its front-end has said.
func (v Vring) inUse() bool { return v.Started && v.Enabled }

// VringFlagLog in Vring.Flags asks to log writes to the used ring
// (VHOST_VRING_F_LOG, bit 0).
const VringFlagLog = 1 << 0

// newState returns the state at the start of a session. "Each ring is
// initialized in a stopped and disabled state."
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
