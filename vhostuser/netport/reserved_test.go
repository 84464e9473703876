package netport_test

import (
	"testing"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// Protocols that labs need between guests that are link partners: the frames of each go to a
// reserved address, and pass if the sender's group_fwd_mask includes the address.
func TestReservedAddressesBetweenGuests(t *testing.T) {
	for _, p := range []struct {
		name  string
		last  byte // of the destination, 01:80:c2:00:00:0N
		etype uint16
	}{
		{"STP", 0x0, 0x0027}, // an LLC frame: its length
		{"PAUSE", 0x1, 0x8808},
		{"LACP", 0x2, 0x8809},
		{"EAPOL", 0x3, 0x888e},
		{"LLDP", 0xe, 0x88cc},
	} {
		t.Run(p.name, func(t *testing.T) {
			l := newLab(t)
			a, b := l.newGuest(guestConfig{}), l.newGuest(guestConfig{})
			b.post(b.rx[0], 4, 2048)
			frame := vswitchtest.Ether(vswitch.MAC{0x01, 0x80, 0xc2, 0, 0, p.last}, vswitchtest.Station(a.n), make([]byte, 60))
			frame[12], frame[13] = byte(p.etype>>8), byte(p.etype)
			mask := func(m uint16) {
				t.Helper()
				cfg := a.port.Attachment().Config()
				cfg.GroupFwdMask = m
				if err := a.port.Attachment().Reconfigure(cfg); err != nil {
					t.Fatal(err)
				}
			}
			send := func() {
				t.Helper()
				a.send(frame)
				a.poll()
				a.reclaim()
			}
			send()
			b.getsNothing()
			mask(1 << p.last)
			send()
			b.gets(frame)
			mask(^uint16(1 << p.last))
			send()
			b.getsNothing()
			a.dropped(map[vswitch.DropReason]uint64{vswitch.DropReserved: 2})
		})
	}
}
