package vhostuser_test

import (
	"errors"

	"vswitchd/vhostuser"
)

const (
	rarp     = 1 << vhostuser.ProtocolFeatureRARP
	netMTU   = 1 << vhostuser.ProtocolFeatureNetMTU
	backReq  = 1 << vhostuser.ProtocolFeatureBackendReq
	config   = 1 << vhostuser.ProtocolFeatureConfig
	inflight = 1 << vhostuser.ProtocolFeatureInflightShmFD
	resetDev = 1 << vhostuser.ProtocolFeatureResetDevice
	inband   = 1 << vhostuser.ProtocolFeatureInbandNotifications
	status   = 1 << vhostuser.ProtocolFeatureStatus

	// plainProto needs only Device of the device, everyProto all hooks.
	plainProto = allProto | logShmFD | inflight | backReq | resetDev | inband | status
	everyProto = plainProto | rarp | netMTU | config
)

// fullDevice is a device that implements all hooks.
type fullDevice struct {
	*device
	space      []byte // the configuration space
	sequential bool
}

func newFullDevice(vrings int) *fullDevice {
	return &fullDevice{device: newDevice(vrings), space: []byte("0123456789")}
}

func (d *fullDevice) RARP(mac [6]byte) { d.events.add("rarp %x", mac) }

func (d *fullDevice) SetMTU(mtu int) error {
	if mtu < 68 {
		return errors.New("too small for IPv4")
	}
	d.events.add("mtu %d", mtu)
	return nil
}

func (d *fullDevice) ReadConfig() []byte { return d.space }

func (d *fullDevice) WriteConfig(offset int, data []byte, migration bool) error {
	if offset < 4 && !migration {
		return errors.New("read-only")
	}
	copy(d.space[offset:], data)
	return nil
}

func (d *fullDevice) DriverEnded() { d.events.add("driver ended") }

func (d *fullDevice) Sequential() bool { return d.sequential }
