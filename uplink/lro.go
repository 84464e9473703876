package uplink

// Large receive offload: the NIC merges frames that it receives, and does not keep the boundaries.
// The kernel cannot segment such frames again, nor describe all of them to a packet socket, and
// turns LRO off on a NIC that becomes a bridge's port (dev_disable_lro). An uplink does the same,
// and like the bridge it leaves LRO off. GRO, in the kernel or in the NIC (rx-gro-hw), loses
// nothing and stays on.

// ethtoolFunc is ethtoolValue.
type ethtoolFunc func(ifname string, cmd, value uint32) (uint32, error)

// turnOffLRO turns off an interface's LRO, if it is on. changed is true if it was, and on if it
// still is. An interface whose driver does not know the command has no LRO.
func turnOffLRO(ifname string, ethtool ethtoolFunc) (changed, on bool) {
	flags, err := ethtool(ifname, ethtoolGFlags, 0)
	if err != nil || flags&ethFlagLRO == 0 {
		return false, false
	}
	_, err = ethtool(ifname, ethtoolSFlags, flags&^ethFlagLRO)
	if err == nil {
		flags, err = ethtool(ifname, ethtoolGFlags, 0)
	}
	on = err != nil || flags&ethFlagLRO != 0
	return !on, on
}

// noLRO turns off the interface's LRO, and logs the result if the result has changed. ctlMu is
// held.
func (u *Uplink) noLRO() {
	if u.sock == nil || u.link == nil {
		return
	}
	changed, on := turnOffLRO(u.link.name, ethtoolValue)
	switch {
	case changed:
		u.log.Info("turned off large receive offload")
	case on && !u.lro:
		u.log.Warn("large receive offload is on and cannot be turned off: frames that the interface has merged " +
			"are lost or have wrong sizes, and guests' connections will be slow; turn it off with ethtool -K")
	}
	u.lro = on
}
