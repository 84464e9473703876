package guests

import "testing"

const guestCounters = `           CPU0       
 24:          0  PCI-MSIX-0000:00:02.0   0-edge      virtio0-config
 25:       2110  PCI-MSIX-0000:00:02.0   1-edge      virtio0-input.0
 26:        345  PCI-MSIX-0000:00:02.0   2-edge      virtio0-output.0
LOC:       8123   Local timer interrupts
Udp: InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors
Udp: 1000 1 17 20 16 0 1 0 0
UdpLite: 0 0 0 0 0 0 0 0 0
frames 4242
`

func TestParseCounts(t *testing.T) {
	got, err := parseCounts(guestCounters)
	if want := (counts{frames: 4242, interrupts: 2110, dropped: 16}); err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
	if _, err := parseCounts("frames 4242\n"); err == nil {
		t.Error("no error without the other counters")
	}
}
