package vswitch

import "math/bits"

// A stage is a step of the pipeline; pipeline.go lists them.
type stage uint8

const (
	stageAdmit stage = iota
	stageClassify
	stageLookup
	stageFlood
	stageSend
	stageRepair
	stageTransmit
	numStages
)

var stageNames = [numStages]string{
	stageAdmit:    "admit",
	stageClassify: "classify",
	stageLookup:   "lookup",
	stageFlood:    "flood",
	stageSend:     "send",
	stageRepair:   "repair",
	stageTransmit: "transmit",
}

func (s stage) String() string { return stageNames[s] }

// A drop is frames of a batch that go no further, or not to one destination.
type drop struct {
	at     stage
	why    DropReason
	port   *portView // the port at which the drop is counted; nil: the source, which is detached
	frames uint64    // bit i: the i-th frame of the batch
}

// countedByPort is the reason of frames that a Transmit did not take. The port has counted them,
// with a reason of the port's own choice. Transmit says how many frames these are, but not which:
// some of drop.frames, or all of them if the port took none.
const countedByPort = numDropReasons

// maxDrops is how many drops a batch remembers: as many as a batch has frames is enough for the
// source port, each of whose frames is dropped once at most. If many destinations drop, drops are
// settled earlier.
const maxDrops = MaxBatch

// drop says that a stage drops some frames, for one reason, which is counted at a port.
func (in *Inlet) drop(at stage, why DropReason, v *portView, frames uint64) {
	b := &in.batch
	for i := range b.drops[:b.ndrops] {
		d := &b.drops[i]
		if d.at == at && d.why == why && d.port == v {
			d.frames |= frames
			return
		}
	}
	if b.ndrops == maxDrops {
		in.settle()
		b.ndrops = 0
	}
	b.drops[b.ndrops] = drop{at, why, v, frames}
	b.ndrops++
}

// settle counts the drops of the batch. Every drop of a frame that has come into the pipeline
// passes here, with the frames that it is about. They are still as they were delivered, except
// for Head, Len and Offload: this is the place from which capture, mirrors and traces can be told.
func (in *Inlet) settle() {
	b := &in.batch
	for i := range b.drops[:b.ndrops] {
		d := &b.drops[i]
		if d.why == countedByPort {
			continue
		}
		c := in.counters
		if d.port != nil {
			c = d.port.counters
		}
		c.Drop(d.why, bits.OnesCount64(d.frames))
	}
}
