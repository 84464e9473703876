package vswitch

// A Port is where frames leave the switch: the driver of a guest or of an
// uplink. The switch calls it from any worker, several at once.
type Port interface {
	// Transmit sends frames, in order, and returns how many it took. It copies
	// what it needs and keeps neither the slice nor a frame. It never waits:
	// what does not fit is dropped. The port counts both, in the Counters that it
	// shares with the switch: TxFrames and TxBytes of what went, and a drop with
	// the reason that applies for each frame that did not.
	Transmit(frames []*Frame) (sent int)

	// Caps tells what the port takes now. It is called before each Transmit
	// and may change whenever a guest's driver is loaded.
	Caps() Caps
}
