package guest

import (
	"errors"
	"fmt"

	"vswitchd/internal/control"
	"vswitchd/vhostuser"
	"vswitchd/vhostuser/netport"
	"vswitchd/virtqueue"
)

// This file derives what an operator probably has to correct when front-ends fail. A hint is a
// guess and only a starting point for diagnosis; confirmed errors are in the log and in last_error.

// A hint is the likely mistake of an operator, for programs and in words. The zero value says that
// the operator probably has nothing to correct.
type hint struct {
	cause control.HintCause
	text  string
}

const (
	hintShared = "is the guest's memory shared? QEMU needs a memory backend with share=on, libvirt <access mode='shared'/>"

	hintEndian = "a legacy driver, whose front-end has stopped before its rings were set up: the front-end of a big-endian guest " +
		"needs CROSS_ENDIAN, which is not offered; use a device that is not legacy (disable-legacy=on, s390x: max_revision=1 or higher)"

	hintNoMessage = "the peer sent no message: is it a vhost-user front-end?"
)

// endHint returns the likely cause for the end of a session. queues is the number of queue pairs
// that the port offers.
func endHint(c vhostuser.Progress, end error, queues int) hint {
	switch {
	case errors.Is(end, virtqueue.ErrAddress) || errors.Is(c.Refused, virtqueue.ErrAddress):
		return hint{control.HintMemoryNotShared, hintShared}
	case c.SetFeatures || errors.Is(end, errClosing):
		return hint{}
	case errors.Is(end, vhostuser.ErrMalformed), errors.Is(end, vhostuser.ErrUnknownMessage):
		return hint{control.HintNotVhostUser, "the peer does not speak vhost-user"}
	case c.Messages == 0:
		return hint{control.HintNotVhostUser, hintNoMessage}
	case c.AskedQueues:
		return hint{control.HintOffer, fmt.Sprintf("the front-end disconnected after it had read that the port has %s: does it want more (queues= of QEMU's -netdev, "+
			"the port's queues)? Or does its guest use a feature that the port no longer offers (the port's offloads)?", pairs(queues))}
	}
	return hint{control.HintOffer, "the front-end disconnected after it had read the port's features: does its guest use a feature that the port no longer offers (the port's offloads)?"}
}

func pairs(n int) string {
	if n == 1 {
		return "1 queue pair"
	}
	return fmt.Sprintf("%d queue pairs", n)
}

// sessionHint returns the likely cause why a connected front-end passes no frames.
func sessionHint(st *netport.Status) hint {
	switch {
	case unshared(st):
		return hint{control.HintMemoryNotShared, "the guest kicks, but its rings appear empty to vswitchd: " + hintShared}
	case ringsIncomplete(st):
		return hint{control.HintBigEndian, hintEndian}
	}
	return hint{}
}

// unshared reports whether the driver has kicked a ring although every ring is and always was
// empty. If the guest's memory is not shared, vswitchd maps the file that the front-end passed, and
// the guest's writes do not reach that file.
func unshared(st *netport.Status) bool {
	kicked := false
	for _, r := range st.Rings {
		if !r.Running {
			continue
		}
		if !r.Inspected || used(&r) {
			return false
		}
		kicked = kicked || r.Woken
	}
	return kicked
}

// used reports whether a ring contains a buffer, or contained one since the driver set the ring up.
func used(r *netport.Ring) bool {
	if r.Waiting > 0 || r.InFlight > 0 {
		return true
	}
	if r.Packed {
		return r.LastAvail != 1<<15
	}
	return r.LastAvail != 0 || r.AvailIdx != 0
}

// ringsIncomplete reports whether the front-end of a legacy driver has begun to set up rings and
// has completed none. QEMU gives up between SET_VRING_BASE and SET_VRING_ADDR, where it would send
// SET_VRING_ENDIAN for a big-endian guest.
func ringsIncomplete(st *netport.Status) bool {
	if !st.Connected || st.Features == 0 || st.Features&(1<<virtqueue.FeatureVersion1) != 0 {
		return false
	}
	begun := false
	for _, v := range st.Vrings {
		if v.HasAddr || v.Started {
			return false
		}
		begun = begun || v.Size > 0
	}
	return begun
}
