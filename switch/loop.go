package vswitch

import (
	"cmp"
	"sync/atomic"
	"time"
)

// Loop detection
// ==============
//
// If two ports are connected outside of the switch, a flooded frame comes back, is flooded again,
// and so on for ever. The switch finds such loops by probes: frames that only the switch can make,
// each for one port and VLAN. A probe that comes back shows a path from the port that it was sent
// to, to the one that it came in by. If the switch floods frames from the second port to the first,
// there is a loop, and one of the ports is blocked.
//
// # When probes are sent
//
// Never by a timer, except to end a block. A Deliver sends them (stage_loop.go) when a source
// address of its frames is known behind another port, or when many frames from the port are
// flooded: both happen with the first frames of a loop, and seldom otherwise. Each port has a
// budget for each of these causes, and one for probes that other ports cause. Unicast frames
// between known stations never come to the stage.
//
// # Which port is blocked
//
// The one with the lower PortRole: a guest rather than the uplink of all. Of two guests, the one by
// which the probe came in; of two others, the one whose name is later in order, so that probes in
// both directions lead to the same decision. A probe that comes back by the port that it was sent
// to blocks a guest, because a station that sends back what it receives draws the traffic of other
// stations to itself, and makes a storm with the next one that does so. It does not block an
// uplink, behind which it is the network that loops or reflects: the switch does not multiply the
// frames then, since it does not send them back. If it does (PortConfig.Hairpin), it blocks the
// port.
//
// A blocked port is like one that is down: nothing is sent to it, nothing accepted from it, and
// nothing is known behind it. Only probes pass. Before the end of the time, some are sent to the
// port and to the other one; if one comes back, the time begins again and is twice as long, up to
// maxLoopLevel times.
//
// # Threats
//
// A guest may send any frame, and sees the probes that are sent to its own port. It must not be
// able to have another port blocked.
//
//   - It cannot make a probe of another port, VLAN or time: that needs the switch's key
//     (loop_probe.go). So what it sends is a probe of its own port, or one that it was given.
//   - If it sends the probes of its own port back, or again later, it blocks its own port for as
//     long as these are not older than probeLife. A probe of a port that has been detached is that
//     of no port, even if another port has the same id now.
//   - If it gives them to an accomplice, in another guest or outside, who sends them to the switch,
//     the accomplice's port is blocked, or the guest's, if the accomplice is outside: never an
//     uplink, because of the order of roles, and never a third one.
//   - If it is given the probes of an uplink, it blocks its own port with them. The same holds for
//     a guest that bridges to the switch what others send it through a tunnel: it is responsible
//     for what it sends.
//   - Who sees the probes of two uplinks outside can have one of them blocked. He could as well
//     make a real loop there.
//   - Probes that are sent to a port are never copied to mirrors.
//   - A flood of forged probes costs the guest's own worker time as any other frames, and nothing
//     is locked for them. A lock is taken only to change a block, at most once for each port and
//     block.
//   - A guest that sends from the addresses of others, or floods, causes probes to be sent, within
//     its own budget, and to each other port within that port's budget for others. A budget that is
//     empty makes detection later by up to a second.
//   - A guest that does not want its loop to be found can drop the probes. It could send the frames
//     of a storm by itself: storm control and rates limit both.
//
// # Locking
//
// A block is guarded by Switch.mu; the data plane sees it as portView.blocked. Deliver waits for
// Switch.mu when a probe has come back for which a port has to be blocked, and at no other time:
// until then, frames loop.

// LoopConfig is the configuration of loop detection.
type LoopConfig struct {
	Detect bool

	// BlockTime is how long a port is blocked at first, in whole seconds; others are rounded up.
	// Up to a quarter is added, so that of two switches that have blocked both ends of two cables
	// one is the first to try. 0: DefaultLoopBlockTime. At least MinLoopBlockTime.
	BlockTime time.Duration
}

// Values of LoopConfig.BlockTime.
const (
	DefaultLoopBlockTime = 30 * time.Second
	MinLoopBlockTime     = 5 * time.Second
)

// seconds returns the time of a block that has been prolonged some times. address is the switch's.
func (c *LoopConfig) seconds(level int, address MAC) uint32 {
	t := ceilSeconds(max(cmp.Or(c.BlockTime, DefaultLoopBlockTime), MinLoopBlockTime)) << level
	return t + uint32(uint64(t/4+1)*uint64(address.addr()&0xffff)>>16)
}

const (
	// maxLoopLevel is how often the time of a block is doubled.
	maxLoopLevel = 4

	// releaseTime is for how long, before the end of a block, probes are sent, one each second.
	releaseTime = 3

	// forgetAgain is how long after a port was blocked the last looped frames have come in by the
	// other port, and what the switch has learned from them is forgotten, in seconds.
	forgetAgain = 2
)

// PortRole is what is behind a port.
type PortRole uint8

// Of two ports in a loop, the one with the lower role is blocked.
const (
	RoleGuest PortRole = iota
	RoleHost
	RoleUplink
)

// A probeCause is why probes are sent. Each has a budget of its own.
type probeCause uint8

const (
	probeMoves  probeCause = iota // source addresses of frames from the port are known elsewhere
	probeFloods                   // many frames from the port are flooded
	probeOthers                   // another port's frames are
	numProbeCauses
)

// Budgets of probes: as many at once, and then one per second.
const probesAtOnce = 8

// A loopPort is a port's part in loop detection, from Attach to Detach.
type loopPort struct {
	number  uint32 // no other port of the switch has had it
	budgets [numProbeCauses]*bucket

	returned atomic.Uint32 // the last second in which a probe has shown that a block is needed
	uncut    atomic.Uint64 // the last probe of LoopUncut: id of the other port << 16 | VLAN

	// Guarded by Switch.mu.
	reported uint64 // LoopUncut at the last LoopReports
	blocked  bool   // the port has been blocked before, ...
	level    int    // ... for a time that was doubled so often ...
	ended    uint32 // ... and that ended then
}

func (l *loopPort) init(number uint32) {
	l.number = number
	for i := range l.budgets {
		l.budgets[i] = newBucket(1, probesAtOnce)
	}
}

// affords reports whether there is a budget for probes, and takes it.
func (l *loopPort) affords(cause probeCause, nanos int64) bool {
	return l.budgets[cause].take(nanos, oneProbe) == 1
}

// A loopBlock is that a port is blocked. Guarded by Switch.mu.
type loopBlock struct {
	port, other *Attachment
	vlan        uint16
	since       uint32
	until       uint32
}
