package peer

import (
	"errors"
	"os"

	"vswitchd/bench/load"
)

// A bridge is a Linux bridge of the near end of the wire and a tap device. There is no process:
// what is its back-end's work is done by the thread that writes and reads frames, and by the kernel
// on its behalf.
type bridge struct {
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
	// A bridge that snoops on multicast joins a group and announces that with frames.
	for _, s := range [][]string{
		{"link", "add", bridgeName, "type", "bridge", "mcast_snooping", "0"},
		{"link", "set", tapName, "master", bridgeName, "up"},
		{"link", "set", nearEnd, "master", bridgeName},
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

// Connect implements BackEnd: there is nothing to connect to.
func (b *bridge) Connect(int, load.Config) (*load.Port, error) {
	return nil, errors.New("a bridge speaks no vhost-user")
}

// Socket implements BackEnd: there is none.
func (b *bridge) Socket(int) (path string, listens bool) { return "", false }

// PID implements BackEnd: the thread is one of ours.
func (b *bridge) PID() int { return os.Getpid() }

// Work implements BackEnd.
func (b *bridge) Work() (Work, error) {
	c, err := ThreadClock(b.PID(), b.tap.Thread())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	ran, _ := c.Read()
	return Work{b.tap.Thread(): ran}, nil
}

// Usage implements BackEnd.
func (b *bridge) Usage() (Usage, error) {
	w, err := b.Work()
	return Usage{w[b.tap.Thread()].Seconds(), 1}, err
}

// Busy implements BackEnd.
func (b *bridge) Busy() (Usage, error) { return b.Usage() }

// Drops implements BackEnd: nobody counts all of them in one place.
func (b *bridge) Drops() (uint64, error) { return 0, nil }
