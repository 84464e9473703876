package vswitch

// A Port is where frames leave the switch: the driver of a guest or of an
// uplink. The switch calls it from any worker, several at once.
type Port interface {
	// Transmit sends frames, in order, and returns how many it took. It copies
	// what it needs and keeps neither the slice nor a frame. It never waits:
	// what does not fit is dropped and counted by the port, in the Counters that
	// it shares with the switch, under the reason that applies.
	Transmit(frames []*Frame) (sent int)

	// Caps tells what the port takes now. It is called once for each
	// Transmit and may change whenever a guest's driver is loaded.
	Caps() Caps
}
