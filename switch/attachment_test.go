package vswitch_test

import (
	"errors"
	"testing"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

func TestDetach(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	a := l.add("a")
	l.addAll("b", "c")
	l.send("a", ether(broadcast, macA, ""))
	l.got()
	a.Detach()
	a.Detach()
	l.wantWhere(macA, 0, "")
	l.send("b", ether(macA, macB, "1"))
	l.want("to a station that was behind the port", got{"c": "1"})
	l.send("a", ether(broadcast, macA, "2"))
	l.want("from the inlet of the detached port", got{})
	l.drops("a", drops{"source-down": 1})
	if err := a.Reconfigure(a.Config()); !errors.Is(err, vswitch.ErrDetached) {
		t.Errorf("Reconfigure: %v", err)
	}
	a.SetUp(true)
	in := a.in

	// The name, and even the id, can be used again; frames from the old inlet are still dropped.
	l.add("a")
	in.Deliver([]vswitch.Frame{vswitchtest.Frame(ether(broadcast, macA, "3"))})
	l.want("from the old inlet", got{})
	l.send("a", ether(broadcast, macA, "4"))
	l.want("from the new inlet", got{"b": "4", "c": "4"})
	in.Close()
}

func TestOnePortTooMany(t *testing.T) {
	l := newLab(t, vswitch.Config{})
	l.s.LeaveIDs(1)
	a := l.add("last")
	if _, err := l.s.Attach(vswitch.DefaultPortConfig("more"), &vswitchtest.Recorder{}); !errors.Is(err, vswitch.ErrTooManyPorts) {
		t.Errorf("one too many: %v", err)
	}
	a.Detach()
	l.add("again")
}
