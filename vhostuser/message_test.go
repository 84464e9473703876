package vhostuser

import (
	"errors"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestTableOfMessagesIsComplete(t *testing.T) {
	for r := GetFeatures; r <= GetVringBaseSkipDrain; r++ {
		s := r.spec()
		if s == nil {
			t.Errorf("message %d is missing", uint32(r))
			continue
		}
		if s.min > s.max || s.max > MaxPayload {
			t.Errorf("%v: payload of %d to %d bytes", r, s.min, s.max)
		}
		if s.gate != ungated && s.gate != gateIOMMU && (s.gate < 0 || s.gate >= len(protocolFeatureNames)) {
			t.Errorf("%v: gate %d", r, s.gate)
		}
	}
	for r := BackendIOTLBMsg; r <= BackendShmemUnmap; r++ {
		if s := backendMessages[r]; s.name == "" || s.name != r.String() {
			t.Errorf("back-end message %d is %q", uint32(r), r)
		}
	}
	if got, want := BackendRequest(11).String(), "back-end message 11"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	for _, r := range []Request{0, GetVringBaseSkipDrain + 1, 1 << 31} {
		if r.spec() != nil {
			t.Errorf("message %d is known", uint32(r))
		}
	}
}

func TestCodecs(t *testing.T) {
	h := Header{Request: SetVringNum, Flags: FlagVersion | FlagNeedReply, Size: 8}
	if b := appendHeader(nil, h); len(b) != HeaderSize || decodeHeader(b) != h {
		t.Errorf("header %v", b)
	}
	st := VringState{Index: 1, Num: 2}
	if got := DecodeVringState(st.AppendTo(nil)); got != st {
		t.Errorf("vring state %+v", got)
	}
	addr := VringAddr{Index: 1, Flags: 2, Desc: 3, Used: 4, Avail: 5, Log: 6}
	if b := addr.AppendTo(nil); len(b) != 40 || decodeVringAddr(b) != addr {
		t.Errorf("vring address %v", b)
	}
	region := MemRegion{GuestAddr: 1, Size: 2, UserAddr: 3, MmapOffset: 4}
	if b := AppendSingleRegion(nil, region); len(b) != 40 || decodeSingleRegion(b) != region {
		t.Errorf("single region %v", b)
	}
	table := slices.Repeat([]MemRegion{region}, 8)
	got, err := decodeMemTable(AppendMemTable(nil, table))
	if d := cmp.Diff(table, got); err != nil || d != "" {
		t.Errorf("table: %v %s", err, d)
	}
	log := LogBase{Size: 1, Offset: 2}
	if b := log.AppendTo(nil); len(b) != 16 || decodeLogBase(b) != log {
		t.Errorf("log %v", b)
	}
	in := Inflight{Size: 1, Offset: 2, NumQueues: 3, QueueSize: 4}
	if b := in.AppendTo(nil); len(b) != inflightSize || DecodeInflight(b) != in {
		t.Errorf("inflight %v", b)
	}
	access := ConfigAccess{Offset: 1, Size: 3, Flags: 1, Data: []byte{7, 8, 9}}
	if got, err := decodeConfigAccess(access.AppendTo(nil), false); err != nil || !reflect.DeepEqual(got, access) {
		t.Errorf("configuration access %+v, %v", got, err)
	}
	access.Data = nil
	if _, err := decodeConfigAccess(access.AppendTo(nil), false); !errors.Is(err, ErrMalformed) {
		t.Errorf("a write without its data: %v", err)
	}
	for _, f := range []VringFile{{Index: 255}, {Index: 7, NoFD: true}} {
		if got, err := decodeVringFile(f.AppendTo(nil)); err != nil || got != f {
			t.Errorf("vring file %+v, %v", got, err)
		}
	}
	if _, err := decodeVringFile(AppendU64(nil, 1<<9)); !errors.Is(err, ErrMalformed) {
		t.Errorf("a vring index of 10 bits: %v", err)
	}
}

func TestNames(t *testing.T) {
	if got, want := ProtocolFeatureNames(1<<0|1<<3|1<<15|1<<40), []string{"MQ", "REPLY_ACK", "CONFIGURE_MEM_SLOTS", "bit 40"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	device := func(bit int) string {
		if bit == 15 {
			return "MRG_RXBUF"
		}
		return ""
	}
	if got, want := FeatureNames(1<<15|1<<32|1<<63, device), []string{"MRG_RXBUF", "VERSION_1", "bit 63"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := FeatureNames(0, nil); got == nil || len(got) != 0 {
		t.Errorf("no features: %v", got)
	}
}

// FuzzDecodeMessage passes whole messages to the checks and decoders: every message that passes the
// checks must decode without a panic, and encode to the same bytes again.
func FuzzDecodeMessage(f *testing.F) {
	region := MemRegion{GuestAddr: 1 << 32, Size: 1 << 20, UserAddr: 1 << 46, MmapOffset: 4096}
	for _, s := range []struct {
		r       Request
		payload []byte
		fds     uint8
	}{
		{GetFeatures, nil, 0},
		{SetFeatures, AppendU64(nil, 1<<32), 0},
		{SetMemTable, AppendMemTable(nil, []MemRegion{region, region}), 2},
		{SetMemTable, AppendMemTable(nil, slices.Repeat([]MemRegion{region}, 8)), 8},
		{SetMemTable, AppendMemTable(nil, slices.Repeat([]MemRegion{region}, 9))[:264], 8},
		{AddMemReg, AppendSingleRegion(nil, region), 1},
		{SetVringAddr, VringAddr{Index: 1, Desc: 1 << 46}.AppendTo(nil), 0},
		{SetVringNum, VringState{Index: 1, Num: 256}.AppendTo(nil), 0},
		{SetVringKick, VringFile{Index: 1}.AppendTo(nil), 1},
		{SetVringCall, VringFile{Index: 1, NoFD: true}.AppendTo(nil), 0},
		{SetVringCall, AppendU64(nil, 1<<63), 1},
		{SetLogBase, LogBase{Size: 1 << 20}.AppendTo(nil), 1},
		{SetInflightFD, Inflight{Size: 1 << 20, NumQueues: 2, QueueSize: 256}.AppendTo(nil), 1},
		{GetConfig, ConfigAccess{Size: 4, Data: make([]byte, 4)}.AppendTo(nil), 0},
		{SetConfig, ConfigAccess{Size: 5, Data: make([]byte, 4)}.AppendTo(nil), 0},
		{SetStatus, AppendU64(nil, 0xf), 0},
		{SendRARP, AppendU64(nil, 0x0102030405), 0},
	} {
		f.Add(append(appendHeader(nil, Header{s.r, FlagVersion, uint32(len(s.payload))}), s.payload...), s.fds)
	}
	f.Fuzz(func(t *testing.T, b []byte, fds uint8) {
		if len(b) < HeaderSize || len(b) > HeaderSize+MaxPayload {
			return
		}
		m := Message{Header: decodeHeader(b), Payload: b[HeaderSize:], FDs: slices.Repeat([]int{-1}, int(fds))}
		m.Size = uint32(len(m.Payload))
		_ = m.Request.String()
		if m.check() != nil {
			return
		}
		same := func(again []byte) {
			t.Helper()
			if string(again) != string(m.Payload[:len(again)]) {
				t.Errorf("%v: payload %x, again %x", m.Request, m.Payload, again)
			}
		}
		switch m.Request {
		case SetMemTable:
			table, err := decodeMemTable(m.Payload)
			if err != nil {
				return
			}
			if len(table) != int(fds) {
				t.Errorf("%d regions with %d file descriptors", len(table), fds)
			}
			same(AppendMemTable(nil, table)[:4]) // followed by padding
			same2 := AppendMemTable(nil, table)[memTableHeader:]
			if string(same2) != string(m.Payload[memTableHeader:memTableHeader+len(same2)]) {
				t.Errorf("regions %x, again %x", m.Payload, same2)
			}
			for _, r := range table {
				_ = checkRegion(r)
			}
		case AddMemReg, RemMemReg:
			r := decodeSingleRegion(m.Payload)
			if err := checkRegion(r); err == nil && (r.GuestAddr+r.Size < r.GuestAddr || r.MmapOffset+r.Size < r.Size) {
				t.Errorf("region %+v passes", r)
			}
		case SetVringAddr:
			same(decodeVringAddr(m.Payload).AppendTo(nil))
		case SetVringKick, SetVringCall, SetVringErr:
			file, err := decodeVringFile(m.Payload)
			if err != nil {
				return
			}
			same(file.AppendTo(nil))
			if file.NoFD != (fds == 0) {
				t.Errorf("%v with %d file descriptors passes", m.Request, fds)
			}
		case SetLogBase:
			same(decodeLogBase(m.Payload).AppendTo(nil))
		case GetInflightFD, SetInflightFD:
			same(DecodeInflight(m.Payload).AppendTo(nil))
		case GetConfig, SetConfig:
			c, err := decodeConfigAccess(m.Payload, m.Request == GetConfig)
			if err != nil {
				return
			}
			if len(c.Data) > MaxConfigSize || uint64(len(c.Data)) != uint64(c.Size) && len(c.Data) > 0 {
				t.Errorf("configuration access %+v passes", c)
			}
			same(c.AppendTo(nil))
		case SetVringNum, SetVringBase, GetVringBase, SetVringEnable, VringKick:
			same(DecodeVringState(m.Payload).AppendTo(nil))
		}
	})
}
