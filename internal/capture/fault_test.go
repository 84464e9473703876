package capture_test

import (
	"bytes"
	"os"
	"runtime/debug"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// vanishing returns memory whose file has been truncated.
func vanishing(t *testing.T) []byte {
	t.Helper()
	fd, err := unix.MemfdCreate("vanishing", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	size := os.Getpagesize()
	if err := unix.Ftruncate(fd, int64(size)); err != nil {
		t.Fatal(err)
	}
	b, err := unix.Mmap(fd, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(b) })
	if err := unix.Ftruncate(fd, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

// Memory of a guest that vanishes costs the capture the rest of the frame, and a batch at most a
// few faults; others frames are whole.
func TestVanishedMemoryIsLeftOut(t *testing.T) {
	l := newLab(t, "b")
	l.add("a", discarding{})
	s := l.capture(all("a"))
	gone := vanishing(t)[:300]
	good := udp(t, macB, macA, 1, make([]byte, 300))
	frames := make([]vswitch.Frame, 12)
	for i := range frames {
		frames[i] = vswitchtest.Frame(good)
		if i%2 == 1 {
			frames[i].Body, frames[i].Len = [][]byte{good[vswitch.HeadLen:], gone}, len(good)+len(gone)
		}
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	l.in["a"].Deliver(frames)
	got := s.finish()
	partial := 0
	for _, p := range got.packets {
		if !bytes.Equal(p.data, good) {
			t.Errorf("got %x", p.data)
		}
		if p.info.Length != len(good) {
			partial++
			if !strings.Contains(p.comments, "could not be read") {
				t.Errorf("a part of a frame has the comment %q", p.comments)
			}
		}
	}
	lost := int(got.interfaces[0].Statistics.PacketsDropped)
	if partial != 4 || len(got.packets)+lost != len(frames) {
		t.Errorf("%d packets, %d of them partial, %d lost", len(got.packets), partial, lost)
	}
}

// discarding reads nothing of its frames.
type discarding struct{}

func (discarding) Caps() vswitch.Caps                   { return vswitch.Caps{} }
func (discarding) Transmit(frames []*vswitch.Frame) int { return len(frames) }
