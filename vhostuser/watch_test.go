package vhostuser

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fillCounter fills an eventfd's counter.
func fillCounter(t *testing.T, fd int) {
	t.Helper()
	resetCounter(fd)
	_, err := unix.Write(fd, binary.NativeEndian.AppendUint64(nil, math.MaxUint64-1))
	must(t, err)
}

func writable(t *testing.T, fd int) bool {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	_, err := unix.Poll(fds, 0)
	must(t, err)
	return fds[0].Revents&unix.POLLOUT != 0
}

// Once a counter is found full, none of the front-end's eventfds can hold up a thread any more,
// whatever the front-end does to them.
func TestJammedEventfdsAreReplaced(t *testing.T) {
	ctx, end := context.WithCancelCause(context.Background())
	s := &Session{end: end, state: newState(8), callFDs: callFDs{next: -1}}
	var theirs []int // the front-end's descriptors of the same descriptions
	eventfd := func() int {
		fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
		must(t, err)
		own, err := unix.Dup(fd)
		must(t, err)
		theirs = append(theirs, own)
		t.Cleanup(func() { closeFDs([]int{fd, own}) })
		return fd
	}
	for i := range 7 { // the last one has none
		s.state.Vrings[i].Call = eventfd()
	}
	s.callFDs.next = eventfd()
	t.Cleanup(func() { closeFDs(s.callFDs.old) })
	if s.checkCallFDs() || ctx.Err() != nil {
		t.Fatal("jammed from the start")
	}
	fillCounter(t, theirs[7])
	if !s.checkCallFDs() || !errors.Is(context.Cause(ctx), ErrJammed) {
		t.Fatal("a full counter is not detected")
	}
	for i, fd := range theirs {
		if !writable(t, fd) {
			t.Errorf("counter %d is still full", i)
		}
		fillCounter(t, fd)
		must(t, unix.SetNonblock(fd, false))
	}
	for i, fd := range append([]int{s.callFDs.next}, s.state.Vrings[0].Call, s.state.Vrings[6].Call) {
		if !writable(t, fd) {
			t.Errorf("descriptor %d blocks", i)
		}
	}
	// A thread that was in a write when the eventfds were replaced, and is blocked again,
	// is released again.
	s.checkCallFDs()
	for i, fd := range theirs {
		if !writable(t, fd) {
			t.Errorf("counter %d stays full", i)
		}
	}
}

// There is one check in each interval, and nextCheck finds it from any time before it.
func TestTimesOfChecks(t *testing.T) {
	now := time.Unix(1000, 0)
	for range 1000 {
		d := nextCheck(now)
		if d <= 0 || d > 2*watchEvery {
			t.Fatalf("the next check is in %v", d)
		}
		for _, sooner := range []time.Duration{d / 3, d - 1} {
			if again := nextCheck(now.Add(sooner)); again != d-sooner {
				t.Fatalf("the next check is in %v, but after %v in %v", d, sooner, again)
			}
		}
		interval := now.UnixNano() / int64(watchEvery)
		now = now.Add(d)
		if n := now.UnixNano() / int64(watchEvery); n > interval+1 {
			t.Fatalf("interval %d was left out", interval+1)
		}
	}
}
