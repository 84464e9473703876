package load

import (
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// A Tap is a guest at a tap device. It does of a virtual machine's process only what none can do
// without: a thread, on the processor of the back-end of which it is a part, writes and reads
// frames, with a virtio-net header, one system call for each. It looks at no ring, copies nothing
// and wakes nobody.
type Tap struct {
	fd     int
	thread int
	orders chan func()
	bufs   [tapBuffers][]byte // of frames to be sent, or received
	ready  chan error         // from the thread, when it ends
	done   chan error
	stop   atomic.Bool

	out, in atomic.Uint64
}

// tapBuffers is how many buffers a guest uses in turn, as many as a vhost-user port's ring has by
// default: frames go to and from memory of the same size.
const tapBuffers = 256

// OpenTap opens a tap device in a namespace that has a name, and starts a thread in it, which is
// prepared by prepare.
func OpenTap(namespace, name string, offloads bool, prepare func() error) (*Tap, error) {
	t := &Tap{fd: -1, orders: make(chan func()), done: make(chan error)}
	ready := make(chan error)
	go func() {
		ready <- within(namespace, func() error {
			t.thread = unix.Gettid()
			var err error
			if t.fd, err = openTap(name, offloads); err != nil {
				return err
			}
			if err := prepare(); err != nil {
				return err
			}
			ready <- nil
			for order := range t.orders {
				order()
			}
			return nil
		})
	}()
	if err := <-ready; err != nil {
		t.Close()
		return nil, fmt.Errorf("tap device %s: %w", name, err)
	}
	t.ready = ready
	return t, nil
}

// openTap opens a tap device in the thread's namespace.
func openTap(name string, offloads bool) (fd int, err error) {
	if fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0); err != nil {
		return -1, err
	}
	takes := 0
	if offloads {
		takes = unix.TUN_F_CSUM | unix.TUN_F_TSO4
	}
	ifr, err := unix.NewIfreq(name)
	if err == nil {
		ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	}
	if err == nil {
		err = errors.Join(
			unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, headerLen),
			unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, takes),
		)
	}
	if err != nil {
		return -1, errors.Join(err, unix.Close(fd))
	}
	return fd, nil
}

// Thread returns the thread that does the work.
func (t *Tap) Thread() int { return t.thread }

// Close ends the thread and closes the device.
func (t *Tap) Close() {
	close(t.orders)
	if t.ready != nil {
		<-t.ready
	}
	if t.fd >= 0 {
		_ = unix.Close(t.fd)
	}
}

func (t *Tap) fill(m *maker, flows int) error {
	if flows > tapBuffers {
		return fmt.Errorf("%d flows, there are %d buffers", flows, tapBuffers)
	}
	for i := range t.bufs {
		t.bufs[i] = make([]byte, headerLen+m.size)
		m.fill(t.bufs[i], tagOf(guestEnd, i%flows))
	}
	return nil
}

func (t *Tap) transmit(m *maker, tags []tag) error {
	b := make([]byte, headerLen+m.size)
	for _, tag := range tags {
		m.fill(b, tag)
		if _, err := unix.Write(t.fd, b); err != nil {
			return fmt.Errorf("writing to a tap device: %w", err)
		}
	}
	return nil
}

func (t *Tap) collect(f func(buf []byte) error) error {
	buf := make([]byte, headerLen+1<<16)
	for {
		n, err := unix.Read(t.fd, buf)
		switch {
		case err == unix.EAGAIN:
			return nil
		case err == nil:
			t.in.Add(1)
			buf[vnetHdrLen], buf[vnetHdrLen+1] = 1, 0 // num_buffers, which the kernel does not fill in
			err = f(buf[:n])
		}
		if err != nil {
			return fmt.Errorf("reading from a tap device: %w", err)
		}
	}
}

func (t *Tap) begin(send bool) {
	work := t.receive
	if send {
		work = t.send
	}
	t.stop.Store(false)
	t.orders <- func() { t.done <- work() }
}

// send sends until it is told to stop.
func (t *Tap) send() error {
	for {
		for _, b := range t.bufs {
			if t.stop.Load() {
				return nil
			}
			if _, err := unix.Write(t.fd, b); err != nil {
				return fmt.Errorf("writing to a tap device: %w", err)
			}
			t.out.Store(t.out.Load() + 1)
		}
	}
}

// receive receives until it is told to stop. It waits when there is nothing, as virtual machines'
// processes do.
func (t *Tap) receive() error {
	for next := 0; !t.stop.Load(); {
		_, err := unix.Read(t.fd, t.bufs[next])
		switch err {
		case nil:
			t.in.Store(t.in.Load() + 1)
			next = (next + 1) % tapBuffers
		case unix.EAGAIN:
			_, err = unix.Poll([]unix.PollFd{{Fd: int32(t.fd), Events: unix.POLLIN}}, 1)
			if err != nil && err != unix.EINTR {
				return fmt.Errorf("waiting for a tap device: %w", err)
			}
		default:
			return fmt.Errorf("reading from a tap device: %w", err)
		}
	}
	return nil
}

func (t *Tap) pump() error { return nil }

func (t *Tap) end() error {
	t.stop.Store(true)
	return <-t.done
}

func (t *Tap) sent() uint64     { return t.out.Load() }
func (t *Tap) received() uint64 { return t.in.Load() }
