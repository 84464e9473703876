package vhostusertest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"vswitchd/vhostuser"
	"vswitchd/virtqueue"
	"vswitchd/virtqueue/virtqueuetest"
)

// Ring is a virtqueue of the front-end: its driver and its eventfds.
type Ring struct {
	Index          int
	Driver         *virtqueuetest.Driver
	KickFD, CallFD int

	logged bool // see FrontEnd.LogRing
}

// NewRing makes a ring of size entries in mem, followed by room bytes for buffers, and adds it to
// the front-end's. Features must have been negotiated. StartRing passes the ring to the device.
func (f *FrontEnd) NewRing(mem *Memory, index, size, room int) (*Ring, error) {
	cfg, end := virtqueuetest.Layout(size, mem.Region.UserAddr+mem.next)
	cfg.Features = f.Features
	bufs := (end - mem.Region.UserAddr + 15) &^ 15
	if bufs+uint64(room) > mem.Region.Size {
		return nil, errors.New("memory is too small for the ring")
	}
	drv, err := virtqueuetest.New(f.table(), cfg)
	if err != nil {
		return nil, err
	}
	drv.Room(mem.Region.GuestAddr+bufs, uint64(room))
	mem.next = (bufs + uint64(room) + 4095) &^ 4095

	r := &Ring{Index: index, Driver: drv}
	if r.KickFD, err = NewEventFD(); err != nil {
		return nil, err
	}
	if r.CallFD, err = NewEventFD(); err != nil {
		_ = unix.Close(r.KickFD)
		return nil, err
	}
	f.Rings = append(f.Rings, r)
	return r, nil
}

func (r *Ring) close() {
	_ = unix.Close(r.KickFD)
	_ = unix.Close(r.CallFD)
}

// StartRing configures, starts and kicks a ring, and enables it if rings can be enabled. The base
// is the one with which the driver's ring was first set up; see StartRingAt.
func (f *FrontEnd) StartRing(r *Ring) error {
	return f.StartRingAt(r, r.Driver.Config().Base)
}

// StartRingAt is StartRing with a base that StopRing returned.
func (f *FrontEnd) StartRingAt(r *Ring, base uint32) error {
	cfg := r.Driver.Config()
	state := func(n uint32) []byte {
		return vhostuser.VringState{Index: uint32(r.Index), Num: n}.AppendTo(nil)
	}
	file := vhostuser.VringFile{Index: uint8(r.Index)}.AppendTo(nil)
	for _, m := range []struct {
		r       vhostuser.Request
		payload []byte
		fds     []int
	}{
		{vhostuser.SetVringCall, file, []int{r.CallFD}},
		{vhostuser.SetVringNum, state(uint32(cfg.Size)), nil},
		{vhostuser.SetVringBase, state(base), nil},
		{vhostuser.SetVringAddr, f.ringAddr(r).AppendTo(nil), nil},
		{vhostuser.SetVringKick, file, []int{r.KickFD}},
	} {
		if err := f.Do(m.r, m.payload, m.fds...); err != nil {
			return err
		}
	}
	if err := r.Kick(); err != nil {
		return err
	}
	if f.Features&(1<<vhostuser.FeatureProtocolFeatures) == 0 {
		return nil
	}
	return f.EnableRing(r, true)
}

// RingAddr returns the payload of SET_VRING_ADDR for a ring.
func RingAddr(index int, cfg virtqueue.Config) vhostuser.VringAddr {
	return vhostuser.VringAddr{Index: uint32(index), Desc: cfg.Desc, Used: cfg.Used, Avail: cfg.Avail}
}

// EnableRing sends SET_VRING_ENABLE.
func (f *FrontEnd) EnableRing(r *Ring, enable bool) error {
	state := vhostuser.VringState{Index: uint32(r.Index)}
	if enable {
		state.Num = 1
	}
	return f.Do(vhostuser.SetVringEnable, state.AppendTo(nil))
}

// StopRing sends GET_VRING_BASE and returns the base at which the device stopped.
func (f *FrontEnd) StopRing(r *Ring) (base uint32, err error) {
	b, err := f.Get(vhostuser.GetVringBase, vhostuser.VringState{Index: uint32(r.Index)}.AppendTo(nil), 8)
	if err != nil {
		return 0, err
	}
	st := vhostuser.DecodeVringState(b)
	if st.Index != uint32(r.Index) {
		return 0, fmt.Errorf("GET_VRING_BASE of ring %d returned ring %d", r.Index, st.Index)
	}
	return st.Num, nil
}

// Kick notifies the device of new buffers.
func (r *Ring) Kick() error { return Signal(r.KickFD) }

// WaitCall waits for a signal from the device and consumes all pending ones.
func (r *Ring) WaitCall() error { return WaitEventFD(r.CallFD, Timeout) }

// Called consumes all pending signals from the device, and reports whether there were any.
func (r *Ring) Called() bool { return WaitEventFD(r.CallFD, 0) == nil }

// NewEventFD returns an eventfd as QEMU makes them: non-blocking.
func NewEventFD() (int, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return -1, fmt.Errorf("eventfd: %w", err)
	}
	return fd, nil
}

// Signal adds 1 to an eventfd.
func Signal(fd int) error {
	_, err := unix.Write(fd, binary.NativeEndian.AppendUint64(nil, 1))
	if errors.Is(err, unix.EAGAIN) {
		return nil // its counter is full, so a signal is pending
	}
	return err
}

// WaitEventFD waits until an eventfd is signalled, for the given time at most, and resets it.
func WaitEventFD(fd int, wait time.Duration) error {
	end := time.Now().Add(wait)
	for {
		pfd := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(pfd, int(max(0, time.Until(end).Milliseconds())))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("poll: %w", err)
		}
		if n == 0 {
			return errors.New("no signal from the device")
		}
		_, err = unix.Read(fd, make([]byte, 8))
		return err
	}
}
