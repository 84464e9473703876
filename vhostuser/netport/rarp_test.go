package netport_test

import (
	"bytes"
	"testing"
)

// A guest that has been migrated to a port is announced to all others, and is found there at once.
func TestRARPAnnouncesTheGuest(t *testing.T) {
	l := newLab(t)
	here, there, other := l.newGuest(guestConfig{}), l.newGuest(guestConfig{}), l.newGuest(guestConfig{})
	for _, g := range []*guest{here, there, other} {
		g.post(g.rx[0], 4, 1514)
	}
	// The guest was seen at the port that it has left.
	hello := there.frameTo(other, 60)
	copy(hello[6:], []byte{0x52, 0x54, 0, 9, 9, 9}) // an address that is not pinned
	there.send(hello)
	there.poll()
	other.gets(hello)

	mac := [6]byte(hello[6:12])
	here.port.RARP(mac)
	want := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	want = append(want, mac[:]...)
	want = append(want, 0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3)
	want = append(want, mac[:]...)
	want = append(want, 0, 0, 0, 0)
	want = append(want, mac[:]...)
	want = append(want, make([]byte, 60-len(want))...)
	other.gets(want)
	there.gets(want)
	here.getsNothing()

	answer := bytes.Clone(hello)
	copy(answer, hello[6:12])
	copy(answer[6:], hello[:6])
	other.send(answer)
	other.poll()
	here.gets(answer)
	there.getsNothing()
}

// A driver that was given an MTU gets no longer frame; one that has not negotiated an MTU gets any.
func TestMTUOfTheGuest(t *testing.T) {
	l := newLab(t)
	const featureMTU = 3
	p, without := l.newPort(guestConfig{mtu: 2000}).port, l.newPort(guestConfig{}).port
	if err := p.SetMTU(2001); err == nil {
		t.Error("an MTU above the configured one is accepted")
	}
	if err := p.SetMTU(1600); err != nil {
		t.Error(err)
	}
	p.FeaturesSet(0)
	if mtu := p.Caps().MTU; mtu != 0 {
		t.Errorf("a driver that has not negotiated an MTU has MTU %d", mtu)
	}
	p.FeaturesSet(1 << featureMTU)
	if mtu := p.Caps().MTU; mtu != 1600 {
		t.Errorf("MTU is %d, want 1600", mtu)
	}
	if p.Features()&(1<<featureMTU) == 0 || without.Features()&(1<<featureMTU) != 0 {
		t.Error("MTU is not offered exactly where it is configured")
	}
}
