package vswitch

import (
	"bytes"
	"testing"
)

// TestPushAndPop checks what cannot be seen from outside of the package: Head stays in Room and
// ends at the same place, and offsets are adjusted.
func TestPushAndPop(t *testing.T) {
	room := make([]byte, Headroom+60)
	for i := range room {
		room[i] = byte(i)
	}
	was := bytes.Clone(room[Headroom:])
	offload := Offload{Flags: HdrNeedsCsum, GSOType: GSOTCPv4, HdrLen: 54, GSOSize: 1000, CsumStart: 34, CsumOffset: 16}
	f := Frame{Room: room, Head: room[Headroom:], Len: 60 + 5000, Offload: offload}
	f.verdict = verdict{off: Headroom}
	five := makeTag(tpidDot1Q, 0x6005)

	f.reshape(five)
	tagged := append(append(bytes.Clone(was[:12]), 0x81, 0, 0x60, 5), was[12:]...)
	if !bytes.Equal(f.Head, tagged) || f.Len != 64+5000 || &f.Head[0] != &room[Headroom-4] {
		t.Errorf("with a tag: Head %x, Len %d", f.Head, f.Len)
	}
	if o := f.Offload; o.CsumStart != 38 || o.HdrLen != 58 || o.CsumOffset != 16 || o.GSOSize != 1000 {
		t.Errorf("with a tag: %+v", o)
	}
	f.reshape(noTag)
	if !bytes.Equal(f.Head, was) || f.Len != 60+5000 || f.Offload != offload || &f.Head[0] != &room[Headroom] {
		t.Errorf("without: Head %x, Len %d, %+v", f.Head, f.Len, f.Offload)
	}

	f.Offload = Offload{Flags: HdrDataValid}
	f.reshape(five)
	if o := f.Offload; o != (Offload{Flags: HdrDataValid}) {
		t.Errorf("offsets without a meaning were changed: %+v", o)
	}
}

// TestLateBatchLearnsNothing: a batch that began before its port went down, or was detached, leaves
// no entries behind.
func TestLateBatchLearnsNothing(t *testing.T) {
	for name, end := range map[string]func(*Attachment){
		"down":   func(a *Attachment) { a.SetUp(false) },
		"detach": func(a *Attachment) { a.Detach() },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSwitch(Config{})
			a, err := s.Attach(DefaultPortConfig("a"), nil)
			if err != nil {
				t.Fatal(err)
			}
			a.SetUp(true)
			in := a.NewInlet()
			room := make([]byte, Headroom+MinFrameLen)
			copy(room[Headroom+6:], []byte{2, 0, 0, 0, 0, 1})
			in.batch.src, in.batch.now = a.view, s.fdb.now()
			in.classify([]Frame{{Room: room, Head: room[Headroom:], Len: MinFrameLen}})
			end(a)
			in.learn()
			if st := s.Stats(); st.Entries != 0 {
				t.Errorf("%d entries", st.Entries)
			}
			s.fdb.check(t)
		})
	}
}
