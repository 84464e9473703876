package vswitch_test

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// A lab is a switch whose clocks stand still, with ports that record frames.
type lab struct {
	t     testing.TB
	s     *vswitch.Switch
	ports map[string]*labPort
	nanos *atomic.Int64 // the clock of rates
}

type labPort struct {
	*vswitch.Attachment
	*vswitchtest.Recorder
	in       *vswitch.Inlet
	counters *vswitch.Counters
}

// A refusingPort is a port that refuses some frames of each Transmit.
type refusingPort struct {
	vswitchtest.Recorder
	room    int                        // this many frames are accepted; -1: no limit
	refuses map[int]vswitch.DropReason // by place in the Transmit, from 1
}

func (p *refusingPort) Transmit(frames []*vswitch.Frame) int {
	var accepted []*vswitch.Frame
	for i, f := range frames {
		if why, ok := p.refuses[i+1]; ok {
			f.Refuse(why)
		} else if len(accepted) == p.room {
			f.Refuse(vswitch.DropRingFull)
		} else {
			accepted = append(accepted, f)
		}
	}
	return p.Recorder.Transmit(accepted)
}

func newLab(t testing.TB, cfg vswitch.Config) *lab {
	nanos := new(atomic.Int64)
	if cfg.Nanotime == nil {
		cfg.Nanotime = nanos.Load
	}
	return &lab{t: t, s: vswitch.NewStill(cfg), ports: make(map[string]*labPort), nanos: nanos}
}

// add attaches a port and sets it up.
func (l *lab) add(name string, configure ...func(*vswitch.PortConfig)) *labPort {
	l.t.Helper()
	cfg := vswitch.DefaultPortConfig(name)
	for _, f := range configure {
		f(&cfg)
	}
	cfg.Counters = new(vswitch.Counters)
	p := &labPort{Recorder: &vswitchtest.Recorder{Counters: cfg.Counters}, counters: cfg.Counters}
	a, err := l.s.Attach(cfg, p.Recorder)
	if err != nil {
		l.t.Fatal(err)
	}
	a.SetUp(true)
	p.Attachment, p.in = a, a.NewInlet()
	l.ports[name] = p
	return p
}

func (l *lab) addAll(names ...string) {
	for _, n := range names {
		l.add(n)
	}
}

// send delivers frames, given as bytes, as one batch.
func (l *lab) send(port string, frames ...[]byte) {
	fs := make([]vswitch.Frame, len(frames))
	for i, b := range frames {
		fs[i] = vswitchtest.Frame(b)
	}
	l.ports[port].in.Deliver(fs)
}

// got returns the payloads of the frames that were sent to each port since the last call, without
// ports that got none.
func (l *lab) got() map[string]string {
	m := make(map[string]string)
	for name, p := range l.ports {
		for _, s := range p.Take() {
			if m[name] != "" {
				m[name] += " "
			}
			m[name] += payload(s.Bytes)
		}
	}
	return m
}

// payload returns the bytes behind the type of local experiments.
func payload(b []byte) string {
	_, p, _ := bytes.Cut(b[12:], []byte{0x88, 0xb5})
	return string(p)
}

func (l *lab) want(what string, want map[string]string) {
	l.t.Helper()
	if got := l.got(); fmt.Sprint(got) != fmt.Sprint(want) { // maps are printed in order
		l.t.Errorf("%s: ports got %v, want %v", what, got, want)
	}
}

// drops checks all drop counters of a port that are not zero.
func (l *lab) drops(port string, want map[string]uint64) {
	l.t.Helper()
	if got := l.ports[port].counters.DropsByName(); fmt.Sprint(got) != fmt.Sprint(want) {
		l.t.Errorf("drops at %s: %v, want %v", port, got, want)
	}
}

// where returns the port of a station's FDB entry, or "".
func (l *lab) where(mac vswitch.MAC, vlan uint16) string {
	for _, e := range l.s.FDB("", int(vlan)) {
		if e.MAC == mac {
			return e.Port
		}
	}
	return ""
}

func (l *lab) wantWhere(mac vswitch.MAC, vlan uint16, port string) {
	l.t.Helper()
	if got := l.where(mac, vlan); got != port {
		l.t.Errorf("%s in VLAN %d is behind %q, want %q", mac, vlan, got, port)
	}
}

func (l *lab) advance(d time.Duration) {
	l.s.Advance(d)
	l.nanos.Add(int64(d))
}

type got = map[string]string
type drops = map[string]uint64

var (
	macA      = vswitchtest.Station(0xa)
	macB      = vswitchtest.Station(0xb)
	macC      = vswitchtest.Station(0xc)
	broadcast = vswitchtest.Broadcast
	multicast = vswitch.MAC{0x01, 0x00, 0x5e, 0, 0, 1}
)

// ether makes a frame that tests recognise by its payload.
func ether(dst, src vswitch.MAC, payload string, tags ...vswitchtest.Tag) []byte {
	return vswitchtest.Ether(dst, src, []byte(payload), tags...)
}
