package peer

import "vswitchd/bench/load"

// Options are what the same for all back-ends.
type Options struct {
	Ports    int
	Queues   int    // queue pairs of each port; 0: 1
	Offloads bool   // guests leave checksums and segmentation to the back-end
	Workers  int    // of vswitchd; 0: 1
	Spread   bool   // worker i of vswitchd is on processor i, instead of the lab's
	Metrics  string // address at which vswitchd serves metrics; "": none
	MACs     int    // addresses that the FDB has to hold; 0: as many as it does by itself
	Uplink   bool   // the near end of the lab's wire is a port as well
}

// A BackEnd is a running back-end.
type BackEnd interface {
	// Name is the back-end's, for tables.
	Name() string

	// Connect starts a guest on a port. Each port has one at a time.
	Connect(port int, cfg load.Config) (*load.Port, error)

	// Socket is where a port is, for another front-end than Connect's, and whether the back-end
	// listens there or connects.
	Socket(port int) (path string, listens bool)

	// PID is the process's id, and Work what its threads have done.
	PID() int
	Work() (Work, error)

	// Usage returns how much of a processor the back-end has used. (For a back-end that polls all
	// the time, Usage is Busy.)
	Usage() (Usage, error)

	// Busy returns how much of a processor has gone into frames, as the back-end reports it: rounds
	// of polling that found frames.
	Busy() (Usage, error)

	// Drops returns how many frames the back-end says that it has dropped.
	Drops() (uint64, error)

	// Stop ends it.
	Stop()
}

// Usage is work done, in a unit that depends on the back-end. A processor does PerSecond of these
// units in a second.
type Usage struct{ Done, PerSecond float64 }
