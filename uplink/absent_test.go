package uplink

import (
	"testing"

	vswitch "vswitchd/switch"
)

// An uplink whose interface is not there yet opens, says so once, and works when the interface
// comes.
func TestOpenedWithoutInterface(t *testing.T) {
	l := newLab(t)
	l.delLink()
	r := newRig(t, nil)
	if st := r.u.Status(); st.State != StateAbsent || st.Index != 0 {
		t.Errorf("before Begin: %+v", st)
	}
	r.u.Begin()
	r.waitUp(false)
	f := frameOf(ethernet(farMAC, guestMAC, ethExperimental, 100, 0), vswitch.Offload{}, 1)
	if n := r.transmit(f); n != 0 {
		t.Errorf("Transmit took %d frames without an interface", n)
	}
	for range 5 {
		r.u.follow()
	}
	r.wantLogged("no interface of this name", 1)
	r.wantLogged("interface is gone", 0)

	l.addLink()
	r.waitUp(true)
	r.wantTraffic(l)
	r.wantSetUps(false, true)
	l.delLink()
	r.waitState(StateAbsent)
	r.wantLogged("interface is gone", 1)
	r.wantLogged("no interface of this name", 1)
}

// An uplink that has never seen its interface closes.
func TestClosedWithoutInterface(t *testing.T) {
	l := newLab(t)
	l.delLink()
	l.check(newRig(t, nil).u.Close()) // never begun
	r := newRig(t, nil)
	r.u.Begin()
	l.check(r.u.Close())
	r.wantSetUps(false)
}
