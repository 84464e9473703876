package load

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A TapPair is two guests at tap devices, as QEMU serves them without vhost, reduced to what cannot
// be done without: a thread sleeps until a guest kicks it or a frame has come, and writes and reads
// frames with one system call each. A guest kicks if the thread has asked for that, which it does
// not while it works. Nothing is copied between the thread and the guests, which are numbers of
// frames.
type TapPair struct {
	Waited func() time.Duration // as in Traffic

	ends   [2]tapEnd
	epoll  int
	thread int
	stop   atomic.Bool
	ended  chan error
	frame  int // bytes
}

// A tapEnd is one of the guests. The words of the guest and those of the thread are on different
// cache lines, as in a virtqueue.
type tapEnd struct {
	fd, kick int
	out, in  []byte // the frame that is sent, and the one that has arrived last; the thread's

	_         [64]byte
	available atomic.Uint64 // frames to be sent, since the start
	_         [64]byte
	taken     atomic.Uint64 // frames sent, since the start
	received  atomic.Uint64 // frames
	armed     atomic.Bool   // the thread wants to be kicked

	_     [64]byte
	seen  uint64 // of received; the guest's
	kicks uint64 // the guest's
}

// tapRing is how many frames a guest makes available at most before they are taken.
const tapRing = 256

// OpenTapPair opens two tap devices in a namespace that has a name, and starts their thread, which
// is prepared by prepare. Prepare is to be called before frames are sent.
func OpenTapPair(namespace string, names [2]string, prepare func() error) (*TapPair, error) {
	p := &TapPair{epoll: -1, ended: make(chan error, 1)}
	for i := range p.ends {
		p.ends[i].fd, p.ends[i].kick = -1, -1
	}
	ready := make(chan error)
	go func() {
		opened := false
		err := within(namespace, func() error {
			p.thread = unix.Gettid()
			if err := p.open(names); err != nil {
				return err
			}
			if err := prepare(); err != nil {
				return err
			}
			for i := range p.ends {
				p.ends[i].armed.Store(true)
			}
			opened = true
			ready <- nil
			return p.serve()
		})
		if p.ended <- err; !opened {
			ready <- err
		}
	}()
	if err := <-ready; err != nil {
		p.closeFiles()
		return nil, fmt.Errorf("tap devices %v: %w", names, err)
	}
	return p, nil
}

func (p *TapPair) open(names [2]string) (err error) {
	if p.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	for i := range p.ends {
		e := &p.ends[i]
		if e.fd, err = openTap(names[i], false); err != nil {
			return err
		}
		if e.kick, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
			return err
		}
		for _, fd := range []int{e.fd, e.kick} {
			ev := &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}
			if err := unix.EpollCtl(p.epoll, unix.EPOLL_CTL_ADD, fd, ev); err != nil {
				return err
			}
		}
	}
	return nil
}

// Thread returns the thread that does the work.
func (p *TapPair) Thread() int { return p.thread }

// Close ends the thread and closes the devices.
func (p *TapPair) Close() error {
	p.stop.Store(true)
	_, _ = unix.Write(p.ends[0].kick, one)
	err := <-p.ended
	p.closeFiles()
	return err
}

func (p *TapPair) closeFiles() {
	for _, fd := range []int{p.epoll, p.ends[0].fd, p.ends[0].kick, p.ends[1].fd, p.ends[1].kick} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
}

// serve is the thread.
func (p *TapPair) serve() error {
	events := make([]unix.EpollEvent, 4)
	for more := false; !p.stop.Load(); {
		timeout := -1
		if more {
			timeout = 0
		}
		n, err := unix.EpollWait(p.epoll, events, timeout)
		if err != nil && err != unix.EINTR {
			return fmt.Errorf("waiting for tap devices: %w", err)
		}
		more = false
		for i := range p.ends {
			e := &p.ends[i]
			left, err := e.serve(events[:max(n, 0)])
			if err != nil {
				return err
			}
			more = more || left
		}
	}
	return nil
}

// serve does what there is to do for one guest, and reports whether the guest has more to send.
func (e *tapEnd) serve(events []unix.EpollEvent) (more bool, err error) {
	for _, ev := range events {
		switch int(ev.Fd) {
		case e.fd:
			if err := e.receive(); err != nil {
				return false, err
			}
		case e.kick:
			var count [8]byte
			_, _ = unix.Read(e.kick, count[:])
			e.armed.Store(false)
		}
	}
	if e.armed.Load() {
		return false, nil
	}
	return e.transmit()
}

// tapBurst is how many frames QEMU takes from a guest before it looks at other things.
const tapBurst = 256

// transmit sends what is available, up to a burst, and then asks for a kick.
func (e *tapEnd) transmit() (more bool, err error) {
	taken := e.taken.Load()
	for range tapBurst {
		if taken == e.available.Load() {
			e.armed.Store(true)
			if taken == e.available.Load() {
				return false, nil
			}
			e.armed.Store(false)
		}
		if _, err := unix.Write(e.fd, e.out); err != nil {
			return false, fmt.Errorf("writing to a tap device: %w", err)
		}
		taken++
		e.taken.Store(taken)
	}
	return true, nil
}

// receive takes what has arrived.
func (e *tapEnd) receive() error {
	for {
		n, err := unix.Read(e.fd, e.in)
		switch {
		case err == unix.EAGAIN:
			return nil
		case err != nil:
			return fmt.Errorf("reading from a tap device: %w", err)
		case n != len(e.out):
			return fmt.Errorf("a frame of %d bytes with its header came from a tap device, instead of %d", n, len(e.out))
		}
		e.received.Add(1)
	}
}

// A tapWay is from one of the guests to the other.
type tapWay struct{ from, to *tapEnd }

func (p *TapPair) ways() [2]way {
	a, b := &p.ends[0], &p.ends[1]
	return [2]way{tapWay{a, b}, tapWay{b, a}}
}

func (w tapWay) reclaim() (int, error) {
	return tapRing - int(w.from.available.Load()-w.from.taken.Load()), nil
}

func (w tapWay) send(n int) {
	w.from.available.Add(uint64(n))
	if w.from.armed.Load() {
		w.from.kicks++
		_, _ = unix.Write(w.from.kick, one)
	}
}

func (w tapWay) ready() bool { return w.to.received.Load() != w.to.seen }

func (w tapWay) arrived() (int, error) {
	was := w.to.seen
	w.to.seen = w.to.received.Load()
	return int(w.to.seen - was), nil
}

func (w tapWay) asleep() bool  { return w.from.armed.Load() }
func (w tapWay) wakes() uint64 { return w.from.kicks }

// Prepare makes the guests' frames have size bytes, has one go to and fro, and compares what
// arrives.
func (p *TapPair) Prepare(size int) error {
	if err := p.settle(); err != nil {
		return err
	}
	p.frame = size
	m := newMaker(UDP, size, 1)
	for i := range p.ends {
		e := &p.ends[i]
		e.out, e.in = make([]byte, headerLen+size), make([]byte, headerLen+size+1)
		m.fill(e.out, tag{from: uint8(i), to: uint8(1 - i)})
	}
	for i, w := range p.ways() {
		if _, err := ping(w); err != nil {
			return err
		}
		got, sent := p.ends[1-i].in[headerLen:headerLen+size], p.ends[i].out[headerLen:]
		if !bytes.Equal(got, sent) {
			return fmt.Errorf("a frame has changed between tap devices: % x instead of % x", got, sent)
		}
	}
	return nil
}

// PingPong is as a Generator's.
func (p *TapPair) PingPong(n int, quiet time.Duration) (Latency, error) {
	return pingPong(p.ways(), n, quiet, func() {})
}

// Offer is as a Generator's.
func (p *TapPair) Offer(pps float64, warm, measure time.Duration) (o Offered, err error) {
	ways := p.ways()
	before, _ := p.window()
	o.Size = p.frame
	pace := newPacer(ways[:], pps, warm, measure)
	o.Windows, err = windows(warm, measure, p.window, func(time.Duration) error { return pace.round() })
	if err == nil {
		err = p.settle()
	}
	after, _ := p.window()
	o.Latency, o.Wakes = pace.latency, pace.wakes()
	o.Sent, o.Received = after.Sent-before.Sent, after.Received-before.Received
	return o, err
}

// settle waits until all frames have been taken, and nothing more arrives.
func (p *TapPair) settle() error {
	for began, since := time.Now(), time.Now(); time.Since(since) < quietFor; {
		for _, w := range p.ways() {
			room, _ := w.reclaim()
			if n, _ := w.arrived(); n > 0 || room < tapRing {
				since = time.Now()
			}
		}
		if time.Since(began) > patience {
			return fmt.Errorf("after %v frames still come from the tap devices", patience)
		}
	}
	return nil
}

// window returns what is counted so far.
func (p *TapPair) window() (w Window, err error) {
	if p.Waited != nil {
		w.Waited = p.Waited()
	}
	for i := range p.ends {
		w.Sent += p.ends[i].taken.Load()
		w.Received += p.ends[i].seen
	}
	return w, nil
}
