package netport_test

import (
	"testing"

	"vswitchd/vhostuser/vhostusertest"
	"vswitchd/virtqueue"
)

// Every frame that a guest sends is completed, whatever its front-end changes meanwhile.
func TestChurn(t *testing.T) {
	for name, features := range map[string]uint64{
		"split":    modern | eventIdx,
		"in order": modern | 1<<virtqueue.FeatureInOrder,
		"packed":   modern | eventIdx | 1<<virtqueue.FeatureRingPacked,
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.work(1)
			a, b := l.connect(guestConfig{}), l.connect(guestConfig{features: features})
			exchange(a, b)
			r := b.front.Rings[1]
			frame := append(b.header(), b.frameTo(a, 60)...)
			out := b.tx[0].Alloc(len(frame))
			b.tx[0].Driver.Write(out.Addr, frame)
			err := vhostusertest.Churn(b.front, r, 200, func() (readable, writable []buf) { return []buf{out}, nil })
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

// The same for the commands of a driver.
func TestChurnOfControlQueue(t *testing.T) {
	for name, features := range map[string]uint64{"split": modern | eventIdx, "packed": modern | eventIdx | packed} {
		t.Run(name, func(t *testing.T) {
			c := newLab(t).command(guestConfig{features: features | ctrlAll})
			d := c.control.Driver
			out, in := d.Alloc(3), d.Alloc(1)
			d.Write(out.Addr, []byte{0, 0, 1})
			err := vhostusertest.Churn(c.front, c.control, 100, func() (readable, writable []buf) { return []buf{out}, []buf{in} })
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}
