package guest

import (
	"errors"
	"fmt"

	"vswitchd/vhostuser"
	"vswitchd/vhostuser/netport"
	"vswitchd/virtqueue"
)

// This file guesses what an operator has to mend when front-ends come to nothing. A guess is
// something to look at: what is certain is in the log and in last_error.

const (
	hintShared = "is the guest's memory shared? QEMU needs a memory backend with share=on, libvirt <access mode='shared'/>"

	hintEndian = "a legacy driver, whose front-end has stopped half-way through setting its rings up: that of a big-endian guest " +
		"needs CROSS_ENDIAN, which is not offered; use a device that is not legacy (disable-legacy=on, s390x: max_revision=1 or higher)"

	hintNobody = "it said nothing: is it a vhost-user front-end?"
)

// hintOf returns the likely reason for the end of a session of a port with this many queue pairs,
// "": it does not look as if anything had to be mended.
func hintOf(c vhostuser.Progress, end error, queues int) string {
	switch {
	case errors.Is(end, virtqueue.ErrAddress) || errors.Is(c.Refused, virtqueue.ErrAddress):
		return hintShared
	case c.SetFeatures || errors.Is(end, errClosing):
		return ""
	case errors.Is(end, vhostuser.ErrMalformed), errors.Is(end, vhostuser.ErrUnknownMessage):
		return "what connects does not speak vhost-user"
	case c.Messages == 0:
		return hintNobody
	case c.AskedQueues:
		return fmt.Sprintf("it left when it had been told that there are %s: does it want more (queues= of QEMU's -netdev, "+
			"the port's queues)? Or has its guest a feature that the port no longer offers (the port's offloads)?", pairs(queues))
	}
	return "it left when it had seen what the port offers: has its guest a feature that the port no longer offers (the port's offloads)?"
}

func pairs(n int) string {
	if n == 1 {
		return "1 queue pair"
	}
	return fmt.Sprintf("%d queue pairs", n)
}

// suspect returns what is likely wrong with a session that goes on, "": nothing.
func suspect(st *netport.Status) string {
	switch {
	case unshared(st):
		return "the guest kicks, but its rings are empty here: " + hintShared
	case halfWay(st):
		return hintEndian
	}
	return ""
}

// unshared tells whether the driver has signalled that it has added something to a ring, and no
// ring has anything in it, nor had. Memory that is not shared is that of the file that the
// front-end passed, in which the guest's writes do not show.
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

// used tells whether a ring has, or had, anything in it since a driver set it up.
func used(r *netport.Ring) bool {
	if r.Waiting > 0 || r.InFlight > 0 {
		return true
	}
	if r.Packed {
		return r.LastAvail != 1<<15
	}
	return r.LastAvail != 0 || r.AvailIdx != 0
}

// halfWay tells whether the front-end of a legacy driver has begun to set rings up and has
// finished none. QEMU gives up between SET_VRING_BASE and SET_VRING_ADDR, where it would send
// SET_VRING_ENDIAN for a big-endian guest.
func halfWay(st *netport.Status) bool {
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
