package vswitch

import "math/bits"

// A stage is a step of the pipeline; pipeline.go lists them.
type stage uint8

const (
	stageAdmit stage = iota
	stageClassify
	stageFilter
	stageGuard
	stagePolice
	stageLearn
	stageLookup
	stageLoop
	stageStorm
	stageSnoop
	stageNeigh
	stageFlood
	stageEgressFilter
	stageSend
	stageRepair
	stageTransmit
	stageMirror
	numStages

	// firstEgressStage is the first of the stages that drop frames on the way to a destination.
	firstEgressStage = stageEgressFilter
)

var stageNames = [numStages]string{
	stageAdmit:    "admit",
	stageClassify: "classify",
	stageFilter:   "filter",
	stageGuard:    "guard",
	stagePolice:   "police",
	stageLearn:    "learn",
	stageLookup:   "lookup",
	stageLoop:     "loop",
	stageStorm:    "storm",
	stageSnoop:    "snoop",
	stageNeigh:    "neigh",
	stageFlood:    "flood",
	stageSend:     "send",

	stageEgressFilter: "filter",
	stageRepair:       "repair",
	stageTransmit:     "transmit",
	stageMirror:       "mirror",
}

func (s stage) String() string { return stageNames[s] }

// A drop is frames of a batch that a stage has dropped, all of them for the same reason and, in
// stages that work for one destination, for the same destination.
type drop struct {
	at     stage
	why    DropReason
	port   *portView   // where the drop is counted; nil: at the source port, which is detached
	frames uint64      // bit i: the i-th frame of the batch
	n      int         // the number that is counted: of the frames, or of their segments
	rule   *filterRule // the rule of a filter that drops the frames; nil in other stages
}

// maxDrops is the most drops that a batch stores. MaxBatch is enough for the drops at the source
// port, which drops each frame at most once. If many destinations drop frames, the stored drops are
// counted and removed early.
const maxDrops = MaxBatch

// drop records that a stage drops frames for a reason, to be counted at port v.
func (in *Inlet) drop(at stage, why DropReason, v *portView, frames uint64) {
	in.record(drop{at: at, why: why, port: v, frames: frames, n: bits.OnesCount64(frames)})
}

// dropByRule is drop for frames that a rule of a filter of port v drops.
func (in *Inlet) dropByRule(at stage, why DropReason, v *portView, frames uint64, r *filterRule) {
	in.record(drop{at: at, why: why, port: v, frames: frames, n: bits.OnesCount64(frames), rule: r})
}

// record records a drop, together with an earlier one that differs in its frames only.
func (in *Inlet) record(d drop) {
	b := &in.batch
	for i := range b.drops[:b.ndrops] {
		e := &b.drops[i]
		if e.at == d.at && e.why == d.why && e.port == d.port && e.rule == d.rule {
			e.frames |= d.frames
			e.n += d.n
			return
		}
	}
	if b.ndrops == maxDrops {
		in.settle()
		b.ndrops = 0
	}
	b.drops[b.ndrops] = d
	b.ndrops++
}

// settle counts the stored drops, and shows their frames to taps. Every drop in the pipeline passes
// through here, with its frames, which are still valid. Head, Len and Offload of the frames may
// have changed since they were delivered.
func (in *Inlet) settle() {
	b := &in.batch
	for i := range b.drops[:b.ndrops] {
		d := &b.drops[i]
		c := in.counters
		if d.port != nil {
			c = d.port.counters
			if d.port.taps != nil {
				in.tapDropped(d)
			}
		}
		c.Drop(d.why, d.n)
	}
}
