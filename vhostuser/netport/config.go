package netport

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	vswitch "vswitchd/switch"
	"vswitchd/vhostuser"
)

// The configuration space of a network device, struct virtio_net_config (virtio 1.2, section
// 5.1.4), little-endian. Offsets of its fields in bytes:
const (
	configMAC      = 0  // u8[6], with MAC
	configStatus   = 6  // le16, with STATUS
	configMaxPairs = 8  // le16, queue pairs, with MQ
	configMTU      = 10 // le16, bytes, with MTU
	configSpeed    = 12 // le32, Mbit/s, with SPEED_DUPLEX
	configDuplex   = 16 // u8, likewise
	// The fields that follow concern RSS and hash reports, which are not offered, and are zero.
	configLen = 24
)

// Values of these fields.
const (
	statusLinkUp  = 1 // VIRTIO_NET_S_LINK_UP: the link is always up
	speedUnknown  = 0xffff_ffff
	duplexUnknown = 0xff
)

var errReadOnly = errors.New("the field is read-only for a driver")

// A configSpace is the configuration space that a port's driver reads.
//
// The address in it is set anew for each session: there is one session at a time, and its features
// must not change before it ends.
type configSpace struct {
	mu     sync.Mutex // taken by the session, and by the daemon to change the address
	mac    vswitch.MAC
	hasMAC bool        // MAC is offered to the session's front-end
	first  vswitch.MAC // the field mac when the session began
	fields [configLen]byte
}

// begin sets the fields for a session.
func (c *configSpace) begin(queues, mtu int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hasMAC = c.mac != vswitch.MAC{}
	c.first = c.mac
	f := &c.fields
	copy(f[configMAC:], c.mac[:])
	binary.LittleEndian.PutUint16(f[configStatus:], statusLinkUp)
	binary.LittleEndian.PutUint16(f[configMaxPairs:], uint16(maxPairs(queues)))
	binary.LittleEndian.PutUint16(f[configMTU:], uint16(mtu))
	binary.LittleEndian.PutUint32(f[configSpeed:], speedUnknown)
	f[configDuplex] = duplexUnknown
}

// offersMAC reports whether the field mac is valid in this session.
func (c *configSpace) offersMAC() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.hasMAC
}

// pairs returns the field max_virtqueue_pairs.
func (c *configSpace) pairs() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return int(binary.LittleEndian.Uint16(c.fields[configMaxPairs:]))
}

// replaceMAC changes the field mac to the address that the driver has set.
func (c *configSpace) replaceMAC(mac vswitch.MAC) {
	c.mu.Lock()
	defer c.mu.Unlock()
	copy(c.fields[configMAC:], mac[:])
}

// addresses returns the addresses that the driver may use: the initial and the current value of the
// field mac. It returns none if the driver has neither read an address nor set one.
func (c *configSpace) addresses(set bool) []uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch now := macKey(c.fields[configMAC:]); {
	case set:
		return []uint64{now}
	case c.hasMAC:
		return []uint64{macKey(c.first[:]), now}
	}
	return nil
}

// setMTU changes the field mtu.
func (c *configSpace) setMTU(mtu int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	binary.LittleEndian.PutUint16(c.fields[configMTU:], uint16(mtu))
}

// setMAC changes the address for future sessions, and, if the current session has an address and
// there still is one, the field mac. It reports whether the field has changed.
func (c *configSpace) setMAC(mac vswitch.MAC) (changed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mac = mac
	if !c.hasMAC || mac == (vswitch.MAC{}) || mac == vswitch.MAC(c.fields[configMAC:]) {
		return false
	}
	copy(c.fields[configMAC:], mac[:])
	return true
}

// SetMAC sets the address that the guest's driver reads from its device; the zero value: none. A
// connected guest that has been offered another address is notified; whether a guest is offered an
// address at all changes when the next front-end connects.
func (p *Port) SetMAC(mac vswitch.MAC) {
	if !p.space.setMAC(mac) {
		return
	}
	if s := p.session.Load(); s != nil {
		s.ConfigChanged()
	}
}

// ReadConfig implements vhostuser.Configurer.
func (p *Port) ReadConfig() []byte {
	p.space.mu.Lock()
	defer p.space.mu.Unlock()
	return bytes.Clone(p.space.fields[:])
}

// WriteConfig implements vhostuser.Configurer. "All of [the fields] are read-only for a driver",
// but "when using the legacy interface, mac is driver-writable". (The guest can read the address
// back, but it has no other effect: addresses are learned from frames, or pinned.) Some front-ends
// write the whole space for a driver that has written a part.
//
// A front-end that restores a migrated device writes what was read from the device at the source.
// These values must not promise the guest more than this device can do.
func (p *Port) WriteConfig(offset int, data []byte, migration bool) error {
	if err := p.writeSpace(offset, data, migration); err != nil {
		return err
	}
	p.change(func(c *settings) { c.addressSet = c.addressSet || !migration })
	p.updateCaps()
	return nil
}

func (p *Port) writeSpace(offset int, data []byte, migration bool) error {
	c := &p.space
	c.mu.Lock()
	defer c.mu.Unlock()
	next := c.fields
	copy(next[offset:], data)
	if !migration {
		legacy := p.features != 0 && p.features&(1<<featureVersion1) == 0
		if !legacy || !bytes.Equal(next[configStatus:], c.fields[configStatus:]) {
			return errReadOnly
		}
		c.fields = next
		return nil
	}
	n := int(binary.LittleEndian.Uint16(next[configMaxPairs:]))
	switch {
	case n > p.cfg.Queues:
		return fmt.Errorf("%d queue pairs, the port is configured for %d", n, p.cfg.Queues)
	case p.control.index >= 0 && !bytes.Equal(next[configMaxPairs:configMTU], c.fields[configMaxPairs:configMTU]):
		// The control queue's index follows from the number of queue pairs.
		return errors.New("the number of queue pairs changes when features have been acknowledged")
	}
	mtu := int(binary.LittleEndian.Uint16(next[configMTU:]))
	if mtu > p.cfg.MTU {
		return fmt.Errorf("MTU %d is more than the %d that the port is configured for", mtu, p.cfg.MTU)
	}
	c.fields = next
	p.mtu.Store(int64(mtu))
	return nil
}

// driverMTU returns the MTU that the driver has been given; 0: none is known. A front-end sends the
// MTU by NET_SET_MTU, or reads it by CONFIG.
func (p *Port) driverMTU() int {
	if mtu := p.mtu.Load(); mtu != 0 {
		return int(mtu)
	}
	if s := p.session.Load(); s != nil && s.Snapshot().ProtocolFeatures&(1<<vhostuser.ProtocolFeatureConfig) != 0 {
		return p.cfg.MTU
	}
	return 0
}
