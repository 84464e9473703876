package uplinkport

import (
	"slices"
	"time"

	vswitch "vswitchd/switch"
)

// addressPause is how long an uplink's addresses are left as they are after a change. The first
// change of many is not delayed: the answer to a guest's first frame is on its way.
const addressPause = 100 * time.Millisecond

// An addressFeed tells an uplink which stations are on the other ports of the switch, as they come,
// move and go.
type addressFeed struct {
	kick chan struct{}
	stop chan struct{}
	done chan struct{}
}

// startFeed starts a feed. tell tells all that there is to tell, or returns true if it is to be
// called again for more; it may be called until close returns.
func startFeed(sw *vswitch.Switch, tell func() (more bool)) *addressFeed {
	f := &addressFeed{kick: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{})}
	go f.run(sw, tell)
	return f
}

// again has everything told, since the uplink is another one.
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

func (f *addressFeed) run(sw *vswitch.Switch, tell func() (more bool)) {
	defer close(f.done)
	changes, unwatch := sw.WatchFDB()
	defer unwatch()
	for {
		more := tell()
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

// stationsBeyond returns the addresses of FDB entries that belong to other ports than one, those
// that matter most first: static ones, then of each port in turn one that was learned from it, so
// that a guest with many addresses leaves room for those of the others.
func stationsBeyond(entries []vswitch.FDBEntry, port string) []vswitch.MAC {
	var macs []vswitch.MAC
	learned := make(map[string][]vswitch.MAC)
	var ports []string
	for _, e := range entries {
		switch {
		case e.Port == port:
		case e.Static:
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
