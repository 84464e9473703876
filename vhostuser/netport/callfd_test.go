package netport_test

import (
	"encoding/binary"
	"errors"
	"math"
	"runtime"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"vswitchd/vhostuser"
)

// jam fills an eventfd's counter and makes writing to the eventfd block until the counter is read.
// The front-end can do so at any time: the switch shares the file description.
func jam(tb testing.TB, fd int) {
	tb.Helper()
	jamAfter(tb, fd, 0)
}

// jamAfter leaves room in the counter for a number of signals, which do not block.
func jamAfter(tb testing.TB, fd int, signals uint64) {
	tb.Helper()
	counted(fd)
	fill := binary.NativeEndian.AppendUint64(nil, math.MaxUint64-1-signals)
	if _, err := unix.Write(fd, fill); err != nil {
		tb.Fatal(err)
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		tb.Fatal(err)
	}
}

// keepJammed fills the counter again whenever there is room in it, from several threads that wait
// for room before the switch's thread does.
func keepJammed(tb testing.TB, fd int) {
	tb.Helper()
	fd, err := unix.Dup(fd)
	if err != nil {
		tb.Fatal(err)
	}
	var stop atomic.Bool
	var running atomic.Int32
	for range 3 {
		running.Add(1)
		go func() {
			defer running.Add(-1)
			fill := binary.NativeEndian.AppendUint64(nil, math.MaxUint64-1)
			for !stop.Load() {
				unix.Write(fd, fill)
			}
		}()
	}
	tb.Cleanup(func() {
		stop.Store(true)
		unix.SetNonblock(fd, true)
		until(tb, "the attackers end", func() bool { counted(fd); return running.Load() == 0 })
		unix.Close(fd)
	})
}

// A front-end that makes signals to it block loses its session, and the blocked worker continues.
// Meanwhile the rest of the program is not affected.
func TestJammedCall(t *testing.T) {
	for name, attack := range map[string]func(a, b, bad *guest){
		"by a frame for it": func(a, b, bad *guest) {
			bad.post(bad.rx[0], 10, 300)
			jam(a, bad.rx[0].call)
			a.send(a.frameTo(bad, 100))
		},
		"by its own frame": func(a, b, bad *guest) {
			call := bad.tx[0].call
			a.post(a.rx[0], 1, 300)
			until(a, "the signal for the start of the ring", func() bool { return counted(call) > 0 })
			// As soon as a check finds the counter full, the session ends: not before the first
			// frame has arrived, then.
			jamAfter(a, call, 1)
			frame := bad.frameTo(a, 100)
			bad.send(frame)
			a.awaits(frame)
			bad.send(frame)
		},
		"all the time": func(a, b, bad *guest) {
			bad.post(bad.rx[0], 10, 300)
			jam(a, bad.rx[0].call)
			keepJammed(a, bad.rx[0].call)
			a.send(a.frameTo(bad, 100))
		},
		"when it is set": func(a, b, bad *guest) {
			fd := newEventfd(a)
			jam(a, fd)
			// The reply is not sent.
			payload := vhostuser.VringFile{Index: 0}.AppendTo(nil)
			if err := bad.front.Send(vhostuser.SetVringCall, 0, payload, fd); err != nil {
				a.Fatal(err)
			}
			unix.SetNonblock(fd, false) // possibly after the switch has made it non-blocking
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.work(2)
			a, b, bad := l.connect(guestConfig{}), l.connect(guestConfig{}), l.connect(guestConfig{})
			exchange(a, b)
			attack(a, b, bad)
			for range 10 {
				runtime.GC() // stops the world
			}
			if err := bad.end(); !errors.Is(err, vhostuser.ErrJammed) {
				t.Errorf("session ended with %v", err)
			}
			bad.front.Close()
			until(t, "chains are returned", func() bool { a.reclaim(); return len(a.tx[0].bufs) == 0 })
			exchange(a, b)
			bad.dial()
			exchange(b, bad)
		})
	}
}

// Whatever else ends the session of a front-end that jammed an eventfd, the reason is the jam.
func TestJamIsTheReason(t *testing.T) {
	jammed := func(a, bad *guest) {
		bad.post(bad.rx[0], 10, 300)
		jam(a, bad.rx[0].call)
		a.send(a.frameTo(bad, 100))
	}
	for name, attack := range map[string]func(a, bad *guest){
		"it hangs up": func(a, bad *guest) {
			jammed(a, bad)
			bad.front.Close()
		},
		"it hangs up before anybody signals": func(a, bad *guest) {
			jam(a, bad.rx[0].call)
			bad.front.Close()
		},
		"it hangs up, non-blocking again": func(a, bad *guest) {
			jammed(a, bad)
			unix.SetNonblock(bad.rx[0].call, true)
			bad.front.Close()
		},
		"it sends garbage": func(a, bad *guest) {
			jammed(a, bad)
			if err := bad.front.Write([]byte("this is not a message, is it?")); err != nil {
				a.Fatal(err)
			}
		},
		"it replaces the eventfd": func(a, bad *guest) {
			jammed(a, bad)
			payload := vhostuser.VringFile{Index: 0}.AppendTo(nil)
			if err := bad.front.Send(vhostuser.SetVringCall, 0, payload, newEventfd(a)); err != nil {
				a.Fatal(err)
			}
			bad.front.Close()
		},
		"it stops the ring": func(a, bad *guest) {
			jammed(a, bad)
			if err := bad.front.Send(vhostuser.GetVringBase, 0, vhostuser.VringState{Index: 0}.AppendTo(nil)); err != nil {
				a.Fatal(err)
			}
			bad.front.CloseWrite()
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.work(2)
			a, b, bad := l.connect(guestConfig{}), l.connect(guestConfig{}), l.connect(guestConfig{})
			exchange(a, b)
			attack(a, bad)
			if err := bad.end(); !errors.Is(err, vhostuser.ErrJammed) {
				t.Errorf("session ended with %v", err)
			}
			bad.front.Close()
			until(t, "chains are returned", func() bool { a.reclaim(); return len(a.tx[0].bufs) == 0 })
			exchange(a, b)
		})
	}
}
