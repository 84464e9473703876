package vhostuser_test

import (
	"slices"
	"testing"

	"vswitchd/vhostuser/sessionfuzz"
)

// FuzzSession runs sessions of a device that completes its chains in any order or (for every other
// input) in the order in which they became available. Whatever the front-end does, the session must
// end when the connection does, and leave no resources behind.
func FuzzSession(f *testing.F) {
	const hsAll = 4 // of protocolFeatures
	for _, handshake := range []byte{3, hsAll} {
		start := []byte{
			sessionfuzz.Handshake, handshake, sessionfuzz.AddMemory, 0, sessionfuzz.Num, 0, sessionfuzz.Addr, 0,
			sessionfuzz.Call, 0, sessionfuzz.Kick, 0, sessionfuzz.Enable, 0, sessionfuzz.Buffers, 0x10, sessionfuzz.Buffers, 0x14,
		}
		for _, more := range seeds {
			f.Add(append(slices.Clone(start), more...))
		}
	}
	for _, s := range others {
		f.Add(s)
	}

	cfg := sessionfuzz.Config{
		Features:         []uint64{allVirtio, version1, allVirtio | packed, 0, allVirtio | logAll},
		ProtocolFeatures: []uint64{0, replyAck, memSlots, allProto, everyProto, everyProto &^ replyAck},
	}
	f.Fuzz(func(t *testing.T, acts []byte) {
		if len(acts) > 400 {
			return
		}
		dev := newFullDevice(4)
		dev.sequential = len(acts)%2 == 0
		h := serveFull(t, dev)
		a, err := sessionfuzz.New(h.fe, acts, cfg)
		if err != nil {
			t.Fatal(err)
		}
		a.Run()
		_ = h.fe.CloseWrite()
		_ = h.wait()
		a.Close()
	})
}

// seeds continue after a ring has been started.
var seeds = [][]byte{
	{},
	{sessionfuzz.Stop, 0, sessionfuzz.Kick, 0, sessionfuzz.RemMemory, 0, sessionfuzz.AddMemory, 1, sessionfuzz.MemTable, 3},
	{sessionfuzz.MemTable, 0, sessionfuzz.MemTable, 1, sessionfuzz.MemTable, 2, sessionfuzz.MemTable, 3, sessionfuzz.Num, 1, sessionfuzz.Addr, 1, sessionfuzz.Kick, 1, sessionfuzz.Buffers, 1},
	{sessionfuzz.AddMemory, 1, sessionfuzz.Num, 1, sessionfuzz.Addr, 1, sessionfuzz.Kick, 1, sessionfuzz.Truncate, 0, sessionfuzz.Buffers, 1},
	{sessionfuzz.AvailIdx, 200, sessionfuzz.Buffers, 0x80},
	{sessionfuzz.Desc, 0, 0x80, 0, 100, 1, 0, 0x80, sessionfuzz.Buffers, 0x34, sessionfuzz.Scribble, 0x40, 16, 1, 2, 3, 4, sessionfuzz.Buffers, 0x40},
	{sessionfuzz.LogBase, 0, sessionfuzz.LogAll, 1, sessionfuzz.LogRing, 0, sessionfuzz.Buffers, 0x10, sessionfuzz.LogBase, 1, sessionfuzz.Buffers, 0x10, sessionfuzz.LogRing, 0x80, sessionfuzz.LogAll, 0, sessionfuzz.Buffers, 0x10},
	{sessionfuzz.LogAll, 1, sessionfuzz.Buffers, 0x10, sessionfuzz.Kick, 0, sessionfuzz.LogBase, 0, sessionfuzz.Buffers, 0x10, sessionfuzz.RemMemory, 0, sessionfuzz.AddMemory, 0, sessionfuzz.Stop, 0},
	{sessionfuzz.LogBase, 2, sessionfuzz.LogAll, 1, sessionfuzz.Buffers, 0x10, sessionfuzz.Truncate, 0x82, sessionfuzz.Buffers, 0x10},
	{sessionfuzz.Stop, 0, sessionfuzz.Inflight, 2, sessionfuzz.Kick, 0, sessionfuzz.Buffers, 0x10, sessionfuzz.Stop, 0, sessionfuzz.Inflight, 0x82, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 16, 0, sessionfuzz.Kick, 0, sessionfuzz.Buffers, 0x10, sessionfuzz.Reset, 0},
	{sessionfuzz.Stop, 0, sessionfuzz.Inflight, 2, sessionfuzz.Truncate, 0xc0, sessionfuzz.Kick, 0, sessionfuzz.Buffers, 0x10, sessionfuzz.Inflight, 0xa},
	{sessionfuzz.Reset, 0, sessionfuzz.Num, 0, sessionfuzz.Addr, 0, sessionfuzz.Kick, 0, sessionfuzz.Reset, 1, sessionfuzz.DeviceMsg, 0, sessionfuzz.DeviceMsg, 1, sessionfuzz.DeviceMsg, 2, sessionfuzz.DeviceMsg, 3, sessionfuzz.DeviceMsg, 4, sessionfuzz.DeviceMsg, 5},
	{sessionfuzz.Kick, 0x80, sessionfuzz.Call, 0x80, sessionfuzz.Call, 0, sessionfuzz.Err, 0, sessionfuzz.Err, 0x80, sessionfuzz.Base, 0x40, sessionfuzz.Features, 1},
}

// others are sessions that do not get that far.
var others = [][]byte{
	{sessionfuzz.Handshake, 0, sessionfuzz.MemTable, 1, sessionfuzz.Num, 0, sessionfuzz.Addr, 0, sessionfuzz.Kick, 0, sessionfuzz.Buffers, 0, sessionfuzz.Features, 5},
	{sessionfuzz.Handshake, 4, sessionfuzz.Channel, 0, sessionfuzz.AddMemory, 0, sessionfuzz.Num, 0, sessionfuzz.Addr, 0, sessionfuzz.Inband, 0, sessionfuzz.Enable, 0, sessionfuzz.Inband, 0, sessionfuzz.Inband, 0x80, sessionfuzz.Call, 0, sessionfuzz.Channel, 2, sessionfuzz.Channel, 1},
	{sessionfuzz.Handshake, 16, sessionfuzz.AddMemory, 0, sessionfuzz.Base, 0x20, sessionfuzz.Num, 0x40, sessionfuzz.Addr, 0, sessionfuzz.Kick, 0, sessionfuzz.Enable, 0, sessionfuzz.Desc, 0, 0x80, 0, 100, 1, 2, 0, sessionfuzz.Desc, 4, 0x80, 0, 100, 1, 0x80, 0, sessionfuzz.Stop, 0},
	{sessionfuzz.Handshake, 3, sessionfuzz.AnyMessage, 0, 40, 8, sessionfuzz.AnyMessage, 200, 45, 1, sessionfuzz.Half, 2},
	{sessionfuzz.Handshake, 1, sessionfuzz.WrongFDs, 0x85, sessionfuzz.WrongFDs, 0x3c, sessionfuzz.Raw, 12, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0},
	{sessionfuzz.Raw, 12, 2, 0, 0, 0, 1, 0, 0, 0, 255, 255, 255, 255},
}
