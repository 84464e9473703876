package peer

import (
	"errors"

	"vswitchd/bench/load"
)

// A bridge is a Linux bridge of the near end of the wire and a tap device.
type bridge struct {
	inKernel
	lab  *Lab
	wire *Wire
	tap  *load.Tap
}

const (
	bridgeName = "bridge"
	tapName    = "tap"
)

// StartBridge makes a bridge with its tap device, for one guest.
func StartBridge(l *Lab, o Options) (BackEnd, error) {
	if o.Ports != 1 || !o.Uplink {
		return nil, errors.New("the bridge has one guest, and an uplink")
	}
	w, err := l.Wire()
	if err != nil {
		return nil, err
	}
	b := &bridge{lab: l, wire: w}
	if err := b.start(o); err != nil {
		b.Stop()
		return nil, err
	}
	return b, nil
}

func (b *bridge) start(o Options) (err error) {
	b.tap, err = load.OpenTap(b.wire.nearNS, tapName, o.Offloads, func() error { return Pin(b.lab.CPU) })
	if err != nil {
		return err
	}
	b.thread = b.tap.Thread()
	// A bridge that snoops on multicast joins a group and announces that with frames.
	for _, s := range [][]string{
		{"link", "add", bridgeName, "type", "bridge", "mcast_snooping", "0"},
		{"link", "set", tapName, "master", bridgeName, "up"},
		{"link", "set", NearEnd, "master", bridgeName},
		{"link", "set", bridgeName, "up"},
	} {
		if err := ip(append([]string{"-n", b.wire.nearNS}, s...)...); err != nil {
			return err
		}
	}
	return nil
}

// Name implements BackEnd.
func (b *bridge) Name() string { return "Linux bridge" }

// Stop implements BackEnd.
func (b *bridge) Stop() {
	if b.tap != nil {
		b.tap.Close()
	}
	_ = ip("-n", b.wire.nearNS, "link", "del", bridgeName)
}
