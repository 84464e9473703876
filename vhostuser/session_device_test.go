package vhostuser_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"vswitchd/vhostuser"
	"vswitchd/vhostuser/vhostusertest"
)

// saw expects the device to have seen something.
func (h *harness) saw(want string) {
	h.t.Helper()
	if got := h.dev.events.String(); !strings.Contains(got, want) {
		h.t.Errorf("device has seen %s, want %s", got, want)
	}
}

func TestRARPReachesDevice(t *testing.T) {
	h := serveFull(t, newFullDevice(2))
	h.must(h.fe.Handshake(allVirtio, everyProto))
	h.do(vhostuser.SendRARP, []byte{0x52, 0x54, 0, 1, 2, 3, 0xff, 0xff})
	h.saw("rarp 525400010203")
}

func TestMTUReachesDeviceWhichMayRefuseIt(t *testing.T) {
	h := serveFull(t, newFullDevice(2))
	h.must(h.fe.Handshake(allVirtio, everyProto))
	h.do(vhostuser.NetSetMTU, u64(9000))
	h.saw("mtu 9000")
	for _, mtu := range []uint64{0, 67, 1 << 16, 1<<32 + 1500, 1<<64 - 1} {
		h.refused(vhostuser.NetSetMTU, u64(mtu))
	}
	if st := h.dev.session.Load().Snapshot(); st.MTU != 9000 {
		t.Errorf("MTU is %d", st.MTU)
	}
}

func TestConfigSpaceIsReadAndWritten(t *testing.T) {
	dev := newFullDevice(2)
	h := serveFull(t, dev)
	h.must(h.fe.Handshake(allVirtio, everyProto))
	read := func(offset, size uint32, data []byte) []byte {
		t.Helper()
		c := vhostuser.ConfigAccess{Offset: offset, Size: size, Data: data}
		b, err := h.fe.Get(vhostuser.GetConfig, c.AppendTo(nil), 12+int(size))
		h.must(err)
		return b[12:]
	}
	if got := read(2, 4, make([]byte, 4)); string(got) != "2345" {
		t.Errorf("read %q", got)
	}
	if got := read(2, 4, nil); string(got) != "2345" {
		t.Errorf("read %q by a request without room for the data", got)
	}
	// More than the device has: a front-end may know fields that the device does not.
	if got := read(0, 256, make([]byte, 256)); !bytes.Equal(got, append([]byte("0123456789"), make([]byte, 246)...)) {
		t.Errorf("read %q", got)
	}
	if got := read(200, 4, nil); !bytes.Equal(got, make([]byte, 4)) {
		t.Errorf("read %q beyond the end", got)
	}
	// "vhost-user back-end uses zero length of payload to indicate an error"
	for _, c := range []vhostuser.ConfigAccess{{Offset: 253, Size: 4}, {Offset: 1<<32 - 2, Size: 4}, {Offset: 0, Size: 257}} {
		if _, err := h.fe.Get(vhostuser.GetConfig, c.AppendTo(nil), 0); err != nil {
			t.Errorf("%+v: %v", c, err)
		}
	}

	write := func(offset uint32, data string, flags uint32) error {
		c := vhostuser.ConfigAccess{Offset: offset, Size: uint32(len(data)), Flags: flags, Data: []byte(data)}
		return h.fe.Do(vhostuser.SetConfig, c.AppendTo(nil))
	}
	h.must(write(4, "ab", vhostuser.ConfigWritable))
	h.must(write(0, "cd", vhostuser.ConfigMigration))
	for name, err := range map[string]error{
		"read-only field":  write(0, "x", vhostuser.ConfigWritable),
		"behind the end":   write(9, "xx", vhostuser.ConfigMigration),
		"far behind it":    write(1<<32-1, "xx", vhostuser.ConfigMigration),
		"unknown flag":     write(5, "x", 2),
		"size that is not": h.fe.Do(vhostuser.SetConfig, vhostuser.ConfigAccess{Size: 3, Data: []byte("xx")}.AppendTo(nil)),
	} {
		if !errors.Is(err, vhostusertest.ErrNack) {
			t.Errorf("%s: got %v, want a refusal", name, err)
		}
	}
	h.fe.Close()
	_ = h.wait()
	if string(dev.space) != "cd23ab6789" {
		t.Errorf("configuration space is %q", dev.space)
	}
}

func TestStatusIsKept(t *testing.T) {
	h := serve(t, newDevice(2))
	h.must(h.fe.Handshake(allVirtio, plainProto))
	get := func(want uint64) {
		t.Helper()
		if got, err := h.fe.GetU64(vhostuser.GetStatus); err != nil || got != want {
			t.Errorf("status %#x, %v; want %#x", got, err, want)
		}
	}
	get(0)
	h.do(vhostuser.SetStatus, u64(0xb))
	get(0xb)
	h.refused(vhostuser.SetStatus, u64(0x100))
	get(0xb)
	// "If [FEATURES_OK is] not set, the device does not support our subset of features": so the
	// bit must not stay set after the features were refused.
	h.refused(vhostuser.SetFeatures, u64(1<<63))
	h.do(vhostuser.SetStatus, u64(0xb))
	get(3)
	h.do(vhostuser.SetFeatures, u64(allVirtio))
	h.do(vhostuser.SetStatus, u64(0xf))
	get(0xf)
}

// A reset keeps the state of the connection, and a driver can start again.
func TestReset(t *testing.T) {
	for name, reset := range map[string]func(h *harness){
		"by RESET_DEVICE": func(h *harness) { h.do(vhostuser.ResetDevice, nil) },
		"by status 0":     func(h *harness) { h.do(vhostuser.SetStatus, u64(0)) },
	} {
		t.Run(name, func(t *testing.T) {
			h := serve(t, newDevice(2))
			mem := h.negotiate(allVirtio, plainProto)
			r := h.ring(mem, 0)
			reset(h) // nothing to do yet
			h.do(vhostuser.SetFeatures, u64(allVirtio))
			h.must(h.fe.StartRing(r))
			h.do(vhostuser.SetStatus, u64(0xf))
			for range 3 {
				pass(t, r)
			}
			reset(h)
			h.saw("stopped 0, enabled 0 false, features 0x0")
			st := h.dev.session.Load().Snapshot()
			if v := st.Vrings[0]; v.Started || v.Running || v.Enabled || v.Base != 0 || v.Kick != -1 || v.Call < 0 || v.Size != 0 || v.HasAddr {
				t.Errorf("ring is %+v", v)
			}
			if st.Features != 0 || st.Status != 0 || len(st.Regions) != 1 || st.ProtocolFeatures != plainProto || !st.Owned {
				t.Errorf("state is %+v", st)
			}

			r.Driver.Abandon(0)
			h.do(vhostuser.SetFeatures, u64(allVirtio))
			h.must(h.fe.StartRing(r))
			pass(t, r)
		})
	}
}
