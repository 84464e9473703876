package netport_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	vswitch "vswitchd/switch"
	"vswitchd/vhostuser"
	"vswitchd/vhostuser/vhostusertest"
)

// Features that make fields of the configuration space valid.
const (
	featureMTU    = 1 << 3
	featureMAC    = 1 << 5
	featureStatus = 1 << 16
)

var ownMAC = vswitch.MAC{0x52, 0x54, 0, 1, 2, 3}

// A configLab is a port and a front-end that has negotiated CONFIG and has no rings yet.
type configLab struct {
	*guest
	ch *vhostusertest.Channel
}

// configure makes a port and connects a front-end that acknowledges features.
func configure(t *testing.T, cfg guestConfig, features uint64) *configLab {
	t.Helper()
	l := newLab(t)
	c := &configLab{guest: l.newPort(cfg)}
	t.Cleanup(c.port.Close)
	c.dial(features)
	t.Cleanup(c.hangUp)
	return c
}

func (c *configLab) dial(features uint64) {
	c.Helper()
	front, backend, err := vhostusertest.Pair()
	c.must(err)
	c.serve(front, backend)
	c.must(front.Handshake(features|1<<vhostuser.FeatureProtocolFeatures, 1<<vhostuser.ProtocolFeatureMQ|
		1<<vhostuser.ProtocolFeatureReplyAck|1<<vhostuser.ProtocolFeatureBackendReq|
		1<<vhostuser.ProtocolFeatureNetMTU|1<<vhostuser.ProtocolFeatureConfig))
	c.ch, err = front.OpenChannel()
	c.must(err)
}

// startRings starts the rings of the front-end, which is not notified of changes before.
func (c *configLab) startRings() {
	c.Helper()
	c.furnish()
	for _, r := range c.front.Rings {
		c.must(c.front.StartRing(r))
	}
}

func (c *configLab) hangUp() {
	c.ch.Close()
	c.guest.hangUp()
}

// reads expects the first 12 bytes of the configuration space to be these.
func (c *configLab) reads(want ...byte) {
	c.Helper()
	got, err := c.front.GetConfig(0, 12)
	c.must(err)
	if !bytes.Equal(got, want) {
		c.Errorf("configuration space is % x, want % x", got, want)
	}
}

func TestConfigSpaceTellsWhatIsConfigured(t *testing.T) {
	unknown := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0} // speed, duplex; no RSS
	for name, tt := range map[string]struct {
		cfg      guestConfig
		features uint64 // those that make fields valid
		want     []byte
	}{
		"nothing":   {guestConfig{}, featureStatus, []byte{0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0}},
		"all":       {guestConfig{mac: ownMAC, queues: 4, mtu: 9000}, featureStatus | featureMAC | featureMTU | mq, []byte{0x52, 0x54, 0, 1, 2, 3, 1, 0, 4, 0, 0x28, 0x23}},
		"MAC alone": {guestConfig{mac: ownMAC}, featureStatus | featureMAC, []byte{0x52, 0x54, 0, 1, 2, 3, 1, 0, 1, 0, 0, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			c := configure(t, tt.cfg, ^uint64(0))
			if got := c.front.Features & (featureStatus | featureMAC | featureMTU | mq); got != tt.features {
				t.Errorf("features %#x are offered, want %#x", got, tt.features)
			}
			got, err := c.front.GetConfig(0, 24)
			c.must(err)
			if want := slices.Concat(tt.want, unknown); !bytes.Equal(got, want) {
				t.Errorf("configuration space is\n% x, want\n% x", got, want)
			}
		})
	}
}

func TestConfigSpaceIsReadOnlyForDrivers(t *testing.T) {
	c := configure(t, guestConfig{mac: ownMAC}, modern)
	for offset := range uint32(24) {
		b, err := c.front.GetConfig(offset, 1)
		c.must(err)
		for _, v := range []byte{b[0], ^b[0]} {
			if err := c.front.SetConfig(offset, []byte{v}, vhostuser.ConfigWritable); !errors.Is(err, vhostusertest.ErrNack) {
				t.Errorf("writing byte %d: %v, want a refusal", offset, err)
			}
		}
	}
	c.reads(0x52, 0x54, 0, 1, 2, 3, 1, 0, 1, 0, 0, 0)
}

// A legacy driver can write the address; some front-ends then write all fields.
func TestLegacyDriverWritesItsAddress(t *testing.T) {
	c := configure(t, guestConfig{mac: ownMAC}, mrgRxbuf)
	c.must(c.front.SetConfig(4, []byte{8, 9}, vhostuser.ConfigWritable))
	c.reads(0x52, 0x54, 0, 1, 8, 9, 1, 0, 1, 0, 0, 0)
	c.must(c.front.SetConfig(0, []byte{0x52, 0x54, 0, 7, 7, 7, 1, 0, 1, 0, 0, 0}, vhostuser.ConfigWritable))
	c.reads(0x52, 0x54, 0, 7, 7, 7, 1, 0, 1, 0, 0, 0)
	if err := c.front.SetConfig(5, []byte{7, 0}, vhostuser.ConfigWritable); !errors.Is(err, vhostusertest.ErrNack) {
		t.Errorf("writing the status: %v, want a refusal", err)
	}
	c.reads(0x52, 0x54, 0, 7, 7, 7, 1, 0, 1, 0, 0, 0)
	// The address was only this driver's.
	c.hangUp()
	c.dial(modern)
	c.reads(0x52, 0x54, 0, 1, 2, 3, 1, 0, 1, 0, 0, 0)
}

// A front-end that has migrated a device writes what it read from the device at the source.
func TestMigratedConfigSpaceIsRestored(t *testing.T) {
	c := configure(t, guestConfig{mac: ownMAC, queues: 2, mtu: 2000}, modern|featureMTU)
	there := []byte{0x52, 0x54, 0, 6, 6, 6, 1, 0, 1, 0, 0xdc, 5} // one queue pair, MTU 1500
	c.must(c.front.SetConfig(0, there, vhostuser.ConfigMigration))
	c.reads(there...)
	if mtu := c.port.Caps().MTU; mtu != 1500 {
		t.Errorf("MTU is %d", mtu)
	}
	for name, err := range map[string]error{
		"three queue pairs": c.front.SetConfig(8, []byte{3, 0}, vhostuser.ConfigMigration),
		"MTU 2001":          c.front.SetConfig(10, []byte{0xd1, 7}, vhostuser.ConfigMigration),
	} {
		if !errors.Is(err, vhostusertest.ErrNack) {
			t.Errorf("%s: %v, want a refusal", name, err)
		}
	}
	c.reads(there...)
}

// A driver reads the MTU from the configuration space, unless its front-end has set another one.
func TestMTUInConfigSpace(t *testing.T) {
	c := configure(t, guestConfig{mtu: 2000}, modern|featureMTU)
	if mtu := c.port.Caps().MTU; mtu != 2000 {
		t.Errorf("MTU is %d", mtu)
	}
	c.must(c.front.Do(vhostuser.NetSetMTU, vhostuser.AppendU64(nil, 1600)))
	c.reads(0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0x40, 6)
	if mtu := c.port.Caps().MTU; mtu != 1600 {
		t.Errorf("MTU is %d", mtu)
	}
	c.hangUp()
	c.dial(modern | featureMTU)
	c.reads(0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0xd0, 7)
}

// A guest is notified of an address that differs from the one that it was given.
func TestNewAddressIsAnnounced(t *testing.T) {
	c := configure(t, guestConfig{mac: ownMAC}, modern)
	c.startRings()
	other := vswitch.MAC{0x52, 0x54, 0, 4, 4, 4}
	c.port.SetMAC(other)
	r, m, err := c.ch.Recv()
	c.must(err)
	if r != vhostuser.BackendConfigChangeMsg {
		t.Fatalf("front-end receives %v", r)
	}
	if m.Flags&vhostuser.FlagNeedReply != 0 {
		c.must(c.ch.Reply(r, 0))
	}
	c.reads(0x52, 0x54, 0, 4, 4, 4, 1, 0, 1, 0, 0, 0)

	// The same again, and no address at all: neither can be passed to this guest.
	c.port.SetMAC(other)
	c.port.SetMAC(vswitch.MAC{})
	c.reads(0x52, 0x54, 0, 4, 4, 4, 1, 0, 1, 0, 0, 0)
	c.hangUp()
	c.dial(modern | featureMAC)
	c.reads(0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0)
	if c.front.Features&featureMAC != 0 {
		t.Error("an address is offered, but there is none")
	}
	// A guest that was offered no address is not notified.
	c.startRings()
	c.port.SetMAC(other)
	c.reads(0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0)
	if !c.ch.Silent(50 * time.Millisecond) {
		t.Error("front-end is notified of a change that did not happen")
	}
}
