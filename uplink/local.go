package uplink

import (
	"slices"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	vswitch "vswitchd/switch"
)

// The host's own addresses. The kernel gives a frame that comes in by the interface to the packet
// socket and to the host's stack. So a frame for the host has reached the host, and must not go to
// another port; a Linux bridge keeps permanent local entries for the same reason.

// localAddresses are the addresses that the host has on an interface.
type localAddresses struct {
	own    []vswitch.MAC // the interface's own
	others []vswitch.MAC // those of macvlans and the like on top of it, and of the bridge that it is in
}

func (a localAddresses) equal(b localAddresses) bool {
	return slices.Equal(a.own, b.own) && slices.Equal(a.others, b.others)
}

// addressesOf asks the kernel for the addresses on l.
//
// Others are the interface's secondary unicast addresses: a macvlan, or a VLAN device that has
// another address than its parent, adds its own, in whatever namespace it is. An interface that is
// not promiscuous has the guests' addresses among them, because the uplink has asked for these, so
// they are not looked at there.
func (u *Uplink) addressesOf(l *link) (a localAddresses, err error) {
	if u.cfg.HostEnd {
		return otherEnd(l)
	}
	own, ok := stationOf(l.mac)
	if ok {
		a.own = append(a.own, own)
	}
	add := func(hw []byte) {
		if m, ok := stationOf(hw); ok && m != own && !slices.Contains(a.others, m) {
			a.others = append(a.others, m)
		}
	}
	if l.master != 0 {
		if m, err := netlink.LinkByIndex(l.master); err == nil {
			add(m.Attrs().HardwareAddr)
		}
	}
	if u.cfg.Promiscuous {
		if err := secondary(l.index, add); err != nil {
			return a, err
		}
	}
	slices.SortFunc(a.others, func(a, b vswitch.MAC) int { return slices.Compare(a[:], b[:]) })
	return a, nil
}

// otherEnd returns the address of the other end of a veth pair, none if that is in another network
// namespace.
func otherEnd(l *link) (a localAddresses, err error) {
	if l.parent == 0 {
		return a, nil
	}
	end, err := netlink.LinkByIndex(l.parent)
	if err != nil {
		return a, err
	}
	if m, ok := stationOf(end.Attrs().HardwareAddr); ok {
		a.own = append(a.own, m)
	}
	return a, nil
}

// Own returns the own addresses that an uplink on the interface of that name would pass
// Config.SetLocal now: at most one. It returns none if there is no such interface, or none that an
// uplink can be on.
func Own(name string) []vswitch.MAC {
	l, err := findLink(name, 0)
	if err != nil || l == nil || !l.ether {
		return nil
	}
	if m, ok := stationOf(l.mac); ok {
		return []vswitch.MAC{m}
	}
	return nil
}

// stationOf returns hw as the address of one station, if it is one.
func stationOf(hw []byte) (m vswitch.MAC, ok bool) {
	if len(hw) != len(m) {
		return m, false
	}
	m = vswitch.MAC(hw)
	return m, m.IsUnicast()
}

// secondary calls add with each address of the interface's list of addresses to receive (dev->uc
// and dev->mc in the kernel), which the dump of its forwarding database has as entries of the
// interface's own (bridge(8), "self").
func secondary(index int, add func(hw []byte)) error {
	req := nl.NewNetlinkRequest(unix.RTM_GETNEIGH, unix.NLM_F_DUMP)
	of := nl.NewIfInfomsg(unix.AF_BRIDGE)
	of.Index = int32(index) // of this one only
	req.AddData(of)
	msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWNEIGH)
	if err != nil {
		return err
	}
	for _, m := range msgs {
		n, err := netlink.NeighDeserialize(m)
		if err != nil {
			return err
		}
		if n.LinkIndex == index && n.Flags&netlink.NTF_SELF != 0 {
			add(n.HardwareAddr)
		}
	}
	return nil
}

// holdAddresses has the host's addresses pinned to the port, if they have changed or could not all
// be pinned the last time. ctlMu is held.
func (u *Uplink) holdAddresses() {
	if u.cfg.SetLocal == nil {
		return
	}
	var now localAddresses
	if u.sock != nil && u.link != nil { // else another uplink's, or nobody's
		var err error
		if now, err = u.addressesOf(u.link); err != nil {
			u.log.Debug("cannot read the interface's secondary addresses", "error", err)
			now.others = u.held.others
		}
	}
	if now.equal(u.held) && u.localErr == "" && u.heldOnce {
		return
	}
	u.heldOnce = true // the port may have addresses of an uplink that it had before
	msg := ""
	if err := u.cfg.SetLocal(now.own, now.others); err != nil {
		msg = "the host's own address is a guest's: " + err.Error()
	}
	if msg != u.localErr && msg != "" {
		u.log.Error("cannot keep the host's traffic from guests, trying again", "error", msg, "every", recheck)
	}
	u.held, u.localErr = now, msg
}
