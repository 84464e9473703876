package load

import (
	"errors"
	"fmt"
	"time"
)

// A Guest is what sends and receives at the near end of a Line: a vhost-user port ([Port.Guest]),
// or a [Tap].
type Guest interface {
	// fill has all buffers hold a frame, of one flow after the other.
	fill(m *maker, flows int) error

	// transmit sends one frame for each tag, and returns when the back-end has them.
	transmit(m *maker, tags []tag) error

	// collect passes what has arrived to f, with a virtio-net header.
	collect(f func(buf []byte) error) error

	// begin starts sending as much as the back-end takes, or receiving, until end. What the guest
	// does not do by itself, pump does.
	begin(send bool)
	pump() error
	end() error

	sent() uint64
	received() uint64
}

// The ends of a line, in tags.
const (
	guestEnd = 0
	farEnd   = 1
)

// A Line is a guest, an interface behind the back-end's uplink, and the traffic from one to the
// other. Of Traffic, it knows Shape, Size, Flows and Waited.
type Line struct {
	guest   Guest
	far     *Far
	traffic Traffic
	inbound bool // to the guest
	maker   *maker

	lost uint64 // inbound: frames that were sent and did not come
}

// NewLine prepares traffic. The guest and the far end belong to the caller.
func NewLine(guest Guest, far *Far, t Traffic, inbound bool) (*Line, error) {
	t.Flows = max(t.Flows, 1)
	l := &Line{guest: guest, far: far, traffic: t, inbound: inbound, maker: newMaker(t.Shape, t.Size, 1)}
	if t.Size < l.maker.data()+tagLen {
		return nil, fmt.Errorf("%d bytes are not enough for a frame", t.Size)
	}
	return l, nil
}

// tag returns the tag of a frame without number.
func tagOf(from, flow int) tag {
	return tag{from: uint8(from), to: uint8(1 - from), flow: uint32(flow)}
}

// Check has n frames of the line's kind cross it, some at a time, and each of them compared byte by
// byte when it arrives. Before that it waits until frames get through at all, both ways, so that
// the back-end knows both ends.
func (l *Line) Check(n int) error {
	if err := l.far.listen(); err != nil {
		return err
	}
	defer l.far.deafen()
	for _, inbound := range []bool{!l.inbound, l.inbound} {
		m := newMaker(UDP, MinSize, 1)
		err := ErrLate
		for start := time.Now(); errors.Is(err, ErrLate) && time.Since(start) < patience; {
			_, err = l.cross(m, inbound, 0, 1)
		}
		if err != nil {
			return fmt.Errorf("waiting for the first frame: %w", err)
		}
	}
	for done := 0; done < n; {
		k, err := l.cross(l.maker, l.inbound, done, min(checkBatch, n-done))
		if err != nil {
			return err
		}
		done += k
	}
	return nil
}

// ErrLate says that frames have not arrived, because they were dropped or somebody is slow.
var ErrLate = errors.New("frames have not arrived")

// late is after how long that is said.
const late = time.Second

// cross sends n frames and waits for them. Their numbers begin behind done.
func (l *Line) cross(m *maker, inbound bool, done, n int) (int, error) {
	from, send, collect := guestEnd, l.guest.transmit, l.far.collect
	if inbound {
		from, send, collect = farEnd, l.far.transmit, l.guest.collect
	}
	tags := make([]tag, n)
	for i := range tags {
		tags[i] = tagOf(from, (done+i)%l.traffic.Flows)
		tags[i].number = uint64(done + i + 1)
	}
	if err := send(m, tags); err != nil {
		return 0, err
	}
	arrived := 0
	for end := time.Now().Add(late); arrived < n; {
		err := collect(func(buf []byte) error {
			t, err := m.parse(buf)
			switch {
			case errors.Is(err, errForeign):
				return nil
			case err == nil && t != tags[arrived]:
				err = fmt.Errorf("%v came instead of %v", t, tags[arrived])
			}
			arrived++
			return err
		})
		switch {
		case err != nil:
			return arrived, err
		case arrived < n && time.Now().After(end):
			return arrived, fmt.Errorf("%w: %d of %d", ErrLate, n-arrived, n)
		}
	}
	return n, nil
}

// The most frames that are under way inbound: enough to keep the back-end busy, and fewer than a
// ring has room for, so that none is dropped, as a dropped frame is wasted work. Large frames fill
// the kernel's buffers sooner.
const (
	flight      = 192
	flightLarge = 24
)

// Saturate keeps the back-end as busy as it can be, and measures for a while after a warm-up.
func (l *Line) Saturate(warm, measure time.Duration) (r Rate, err error) {
	m := l.maker
	m.cut = l.inbound
	defer func() { m.cut = false }()
	if err := errors.Join(l.guest.fill(m, l.traffic.Flows), l.far.fill(m, l.traffic.Flows)); err != nil {
		return r, err
	}
	first, err := l.count()
	if err != nil {
		return r, err
	}
	l.lost = 0
	l.guest.begin(!l.inbound)
	r.Windows, err = windows(warm, measure, l.count, l.round())
	if err := errors.Join(err, l.guest.end()); err != nil {
		return r, err
	}
	if err := l.settle(); err != nil {
		return r, err
	}
	last, err := l.count()
	r.Size, r.Sent, r.Received = m.size, last.Sent-first.Sent, last.Received-first.Received
	return r, err
}

// count returns what both ends have counted.
func (l *Line) count() (w Window, err error) {
	if l.traffic.Waited != nil {
		w.Waited = l.traffic.Waited()
	}
	if l.inbound {
		w.Sent, w.Received = l.far.sent, l.guest.received()
		return w, nil
	}
	w.Sent = l.guest.sent()
	w.Received, err = l.far.arrived()
	return w, err
}

// round returns what is to be done again and again.
func (l *Line) round() func(time.Duration) error {
	if !l.inbound {
		return func(time.Duration) error { return l.guest.pump() }
	}
	room := flight
	if l.traffic.Size > largest {
		room = flightLarge
	}
	base := l.far.sent - l.guest.received()
	var seen uint64
	var when time.Duration
	return func(now time.Duration) error {
		got := l.guest.received()
		out := int(l.far.sent - got - base - l.lost)
		switch {
		case got != seen || out < room/2:
			seen, when = got, now
		case now-when > lostAfter:
			l.lost += uint64(out)
			out = 0
		}
		if out+l.far.train <= room {
			if err := l.far.send(); err != nil {
				return err
			}
		}
		return l.guest.pump()
	}
}

const (
	largest   = 1 << 14               // bytes; frames that are longer are large
	lostAfter = 20 * time.Millisecond // frames that have not come then do not come any more
)

// settle waits until nothing more arrives.
func (l *Line) settle() error {
	before, since := Window{}, time.Now()
	for time.Since(since) < quietFor {
		if err := l.guest.pump(); err != nil {
			return err
		}
		if err := l.guest.collect(func([]byte) error { return nil }); err != nil {
			return err
		}
		w, err := l.count()
		if err != nil {
			return err
		}
		if w.Received != before.Received {
			before, since = w, time.Now()
		}
	}
	return nil
}
