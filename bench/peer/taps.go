package peer

import (
	"errors"

	"vswitchd/bench/load"
)

// taps is a Linux bridge of two tap devices with a guest at each.
type taps struct {
	inKernel
	ns   string
	pair *load.TapPair
}

var tapNames = [2]string{"tap0", "tap1"}

// StartTaps makes a bridge with two guests.
func StartTaps(l *Lab, o Options) (BackEnd, error) {
	if o.Ports != 2 || o.Uplink {
		return nil, errors.New("the bridge of tap devices has two guests, and no uplink")
	}
	w, err := l.Wire()
	if err != nil {
		return nil, err
	}
	t := &taps{ns: w.nearNS}
	t.pair, err = load.OpenTapPair(t.ns, tapNames, func() error { return Pin(l.CPU) })
	if err != nil {
		return nil, err
	}
	t.thread = t.pair.Thread()
	if err := t.join(); err != nil {
		t.Stop()
		return nil, err
	}
	return t, nil
}

// join makes the bridge of the devices.
func (t *taps) join() error {
	steps := [][]string{{"link", "add", bridgeName, "type", "bridge", "mcast_snooping", "0"}}
	for _, name := range tapNames {
		steps = append(steps, []string{"link", "set", name, "master", bridgeName, "up"})
	}
	steps = append(steps, []string{"link", "set", bridgeName, "up"})
	for _, s := range steps {
		if err := ip(append([]string{"-n", t.ns}, s...)...); err != nil {
			return err
		}
	}
	return nil
}

// Name implements BackEnd.
func (t *taps) Name() string { return "taps" }

// Stop implements BackEnd.
func (t *taps) Stop() {
	_ = ip("-n", t.ns, "link", "del", bridgeName)
	_ = t.pair.Close()
}

// TapPair returns the guests of a back-end that has them at tap devices.
func TapPair(be BackEnd) (p *load.TapPair, ok bool) {
	t, ok := be.(*taps)
	if !ok {
		return nil, false
	}
	return t.pair, true
}
