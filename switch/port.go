package vswitch

// A Port is where frames leave the switch: the driver of a guest or of an uplink. Several workers
// may call its methods at the same time.
type Port interface {
	// Transmit sends frames, in order, and returns how many it has accepted. It copies what it
	// needs, and keeps neither the slice nor a frame. It never waits: a frame for which there is no
	// room is refused. The port calls Frame.Refuse for each frame that it has not accepted, and
	// counts those that it has accepted as TxFrames and TxBytes, in the Counters that it shares
	// with the switch. The switch counts the others as dropped, after Transmit has returned.
	Transmit(frames []*Frame) (sent int)

	// Caps returns what the port accepts now. It is called before each Transmit, and the result may
	// change whenever a guest's driver is loaded.
	Caps() Caps
}
