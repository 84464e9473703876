package uplinkport

import (
	"slices"
	"time"

	vswitch "vswitchd/switch"
)

// addressPause is the minimum time between two updates of an uplink's addresses. The first of
// several changes is not delayed, because the reply to a new guest's first frame can arrive at any
// moment.
const addressPause = 100 * time.Millisecond

// An addressFeed updates an uplink's list of the stations on the other ports of the switch whenever
// the FDB changes.
type addressFeed struct {
	kick chan struct{}
	stop chan struct{}
	done chan struct{}
}

// startFeed starts a feed. update sets the uplink's addresses, and returns true if it must be
// called again to complete the update. update can be called until close returns.
func startFeed(sw *vswitch.Switch, update func() (more bool)) *addressFeed {
	f := &addressFeed{kick: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	go f.run(sw, update)
	return f
}

// again triggers a full update, because the uplink was replaced or its port renamed.
func (f *addressFeed) again() {
	select {
	case f.kick <- struct{}{}:
	default:
	}
}

func (f *addressFeed) close() {
	close(f.stop)
	<-f.done
}

func (f *addressFeed) run(sw *vswitch.Switch, update func() (more bool)) {
	defer close(f.done)
	changes, unwatch := sw.WatchFDB()
	defer unwatch()
	for {
		more := update()
		select {
		case <-time.After(addressPause):
		case <-f.stop:
			return
		}
		if more {
			continue
		}
		select {
		case <-changes:
		case <-f.kick:
		case <-f.stop:
			return
		}
	}
}

// stationsBeyond returns the addresses of all FDB entries except those on port, the most important
// first. Static addresses come first. Learned addresses follow, one from each port in turn, so that
// a guest with many addresses does not displace the addresses of other guests.
func stationsBeyond(entries []vswitch.FDBEntry, port string) []vswitch.MAC {
	var macs []vswitch.MAC
	learned := make(map[string][]vswitch.MAC)
	var ports []string
	for _, e := range entries {
		switch {
		case e.Port == port, e.Kind == vswitch.FDBBlackhole:
		case e.Kind != vswitch.FDBDynamic:
			macs = append(macs, e.MAC)
		default:
			if learned[e.Port] == nil {
				ports = append(ports, e.Port)
			}
			learned[e.Port] = append(learned[e.Port], e.MAC)
		}
	}
	slices.Sort(ports)
	for i := 0; len(ports) > 0; i++ {
		ports = slices.DeleteFunc(ports, func(p string) bool { return i >= len(learned[p]) })
		for _, p := range ports {
			macs = append(macs, learned[p][i])
		}
	}
	return macs
}
