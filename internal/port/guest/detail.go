package guest

import (
	"time"

	"vswitchd/internal/control"
	"vswitchd/vhostuser"
	"vswitchd/vhostuser/netport"
	"vswitchd/virtqueue"
)

// This file converts the state of a guest's port into the types of the control API.

// DescribeDetail implements port.Port.
func (g *Port) DescribeDetail(d *control.PortDetail) {
	st := g.dev.Status()
	d.SlowedMessages = g.pace.Slowed()
	g.mu.Lock()
	if st.Connected && g.connected {
		d.Session = sessionInfo(&st)
		d.Session.ControlQueue = controlInfo(st.Control)
		d.Session.PeerPID, d.Session.OtherWaiting = g.peer, g.waiting
		d.Session.AgeS, d.Session.Number = int64(time.Since(g.since).Seconds()), g.sessions
	}
	h := g.lastHint
	if g.lastEnd != "" {
		d.LastEnd = &control.End{Reason: g.lastEnd, AgoS: int64(time.Since(g.endedAt).Seconds())}
	}
	g.mu.Unlock()
	if now := sessionHint(&st); now != (hint{}) {
		h = now
	}
	d.Hint, d.HintCause = h.text, h.cause
	d.FeatureBits, d.FeaturesNotAcked = featureBits(vhostuser.FeatureBits(st.Offered, netport.FeatureName), st.Features)
	d.ProtocolFeatureBits, d.ProtocolFeaturesNotAcked = featureBits(vhostuser.ProtocolFeatureBits(st.OfferedProtocol), st.ProtocolFeatures)
	use := g.account.Use()
	d.Memory = &control.Memory{Mapped: use.Memory, Max: use.MemoryLimit, Slots: use.Slots}
	for i := range st.Rings {
		ring := ringInfo(&st.Rings[i])
		if st.Control != nil && ring.Index == st.Control.Ring {
			ring.Direction = "control"
		}
		d.Rings = append(d.Rings, ring)
	}
	for _, r := range st.Regions {
		d.Regions = append(d.Regions, control.Region{
			GuestAddr: r.GuestAddr, UserAddr: r.UserAddr, Size: r.Size, FileOffset: r.MmapOffset, PageSize: r.PageSize,
		})
	}
}

func sessionInfo(st *netport.Status) *control.Session {
	s := &control.Session{
		Owned:          st.Owned,
		DeviceStatus:   control.DeviceStatus{Value: st.State.Status},
		BackendChannel: channelStates[st.Channel],
	}
	for _, b := range vhostuser.StatusBits(st.State.Status) {
		s.DeviceStatus.Names = append(s.DeviceStatus.Names, b.Name)
	}
	s.DirtyLog.On = st.Features&(1<<vhostuser.FeatureLogAll) != 0
	if st.Log.FD >= 0 {
		s.DirtyLog.Present, s.DirtyLog.Size, s.DirtyLog.Offset = true, st.Log.Size, st.Log.Offset
	}
	if in := st.Inflight; in.FD >= 0 {
		s.InFlight = control.InFlight{
			Present: true, Size: in.Size, Offset: in.Offset, Rings: int(in.NumQueues), QueueSize: int(in.QueueSize),
		}
	}
	return s
}

func controlInfo(c *netport.Control) *control.ControlQueue {
	if c == nil {
		return nil
	}
	q := &control.ControlQueue{
		Ring: c.Ring, QueuePairs: c.Pairs, Commands: c.Commands, Refused: c.Refused, Receives: []string{"all"},
	}
	if c.Filtering {
		q.Receives = nil
		for _, r := range []struct {
			does bool
			name string
		}{
			{!c.NoUnicast, "own"}, {c.AllUnicast && !c.NoUnicast, "all-unicast"},
			{c.AllMulticast && !c.NoMulticast, "all-multicast"}, {!c.NoBroadcast, "broadcast"},
		} {
			if r.does {
				q.Receives = append(q.Receives, r.name)
			}
		}
	}
	for _, mac := range c.Unicast {
		q.Unicast = append(q.Unicast, mac.String())
	}
	for _, mac := range c.Multicast {
		q.Multicast = append(q.Multicast, mac.String())
	}
	if c.FilteringVLANs {
		vlans := control.List[uint16](c.VLANs)
		q.VLANs = &vlans
	}
	for bit := range 64 {
		if c.GuestOffloadsOff&(1<<bit) != 0 {
			q.OffloadsOff = append(q.OffloadsOff, netport.FeatureName(bit))
		}
	}
	return q
}

var channelStates = map[vhostuser.ChannelState]string{
	vhostuser.ChannelNone:   "none",
	vhostuser.ChannelOpen:   "open",
	vhostuser.ChannelClosed: "closed",
}

// featureBits returns the offered bits, each marked as acknowledged or not, and the names of those
// not acknowledged.
func featureBits(offered []vhostuser.Bit, acked uint64) (bits []control.FeatureBit, not []string) {
	for _, b := range offered {
		f := control.FeatureBit{Bit: b.Number, Name: b.Name, Acked: acked&(1<<b.Number) != 0}
		bits = append(bits, f)
		if !f.Acked {
			not = append(not, b.Name)
		}
	}
	return bits, not
}

func ringInfo(r *netport.Ring) control.Ring {
	ring := control.Ring{
		Index: r.Index, Direction: "to-guest", Format: "split", Size: r.Size,
		Enabled: r.Enabled, Started: r.Started, Running: r.Running,
		Avail: r.LastAvail, LastAvail: r.LastAvail, Used: r.UsedIdx, Base: r.Base,
		InFlight: r.InFlight, Recorded: r.Tracked, Waiting: r.Waiting,
		Kicks: r.Kicks, Calls: r.Calls, BadChains: r.BadChains,
		KickBy: notifiedBy(r.Kick, r.OwnKick), CallBy: calledBy(r),
		Suppression: "none", Polling: r.Polling,
		WantKicks: notifyInfo(r, r.Inspection.Kicks), WantCalls: notifyInfo(r, r.Inspection.Signals),
		DescAddr: r.Desc, AvailAddr: r.Vring.Avail, UsedAddr: r.Vring.Used,
		LogUsed: r.Flags&vhostuser.VringFlagLog != 0, LogAddr: r.Log,
	}
	if r.Index%2 == 1 {
		ring.Direction = "from-guest"
	}
	if r.Err != nil {
		ring.Broken = r.Err.Error()
	}
	if r.EventIdx {
		ring.Suppression = "event-idx"
	} else if r.Polling {
		ring.Suppression = "flags"
	}
	switch {
	case r.Packed:
		ring.Format = "packed"
		ring.Avail, ring.AvailWrap = place(r.LastAvail)
		ring.Used, ring.UsedWrap = place(r.UsedIdx)
		ring.LastAvail = ring.Avail
	case r.Inspected:
		ring.AvailIdx = &r.AvailIdx
	}
	return ring
}

// place splits a packed-ring position (bits 0-14: offset, bit 15: wrap counter) into its parts.
func place(p uint16) (idx uint16, wrap *int) {
	w := int(p >> 15)
	return p &^ (1 << 15), &w
}

func notifiedBy(fd int, ours bool) string {
	switch {
	case fd < 0:
		return "none"
	case ours:
		return "message"
	}
	return "eventfd"
}

func calledBy(r *netport.Ring) string {
	if r.CallSocket >= 0 {
		return "socket"
	}
	return notifiedBy(r.Call, !r.HasCall)
}

func notifyInfo(r *netport.Ring, n virtqueue.Notify) control.Notify {
	if !r.Inspected {
		return control.Notify{When: "unknown"}
	}
	switch n.When {
	case virtqueue.Never:
		return control.Notify{When: "never"}
	case virtqueue.AtEvent:
		event := control.Notify{When: "at-event", Event: &n.Event}
		if r.Packed {
			idx, wrap := place(n.Event)
			event.Event, event.Wrap = &idx, wrap
		}
		return event
	}
	return control.Notify{When: "always"}
}
