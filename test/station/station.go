package station

import (
	"bytes"
	"errors"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"vswitchd/vhostuser"
	"vswitchd/vhostuser/vhostusertest"
	"vswitchd/virtqueue"
	"vswitchd/virtqueue/virtqueuetest"
)

// Feature bits of a network device (virtio 1.2, section 5.1.3).
const featureMrgRxbuf = 15

// Features are what a station acknowledges.
const (
	Features = 1<<featureMrgRxbuf | 1<<virtqueue.FeatureIndirectDesc | 1<<virtqueue.FeatureEventIdx |
		1<<virtqueue.FeatureVersion1 | 1<<vhostuser.FeatureProtocolFeatures
	ProtocolFeatures = 1<<vhostuser.ProtocolFeatureMQ | 1<<vhostuser.ProtocolFeatureReplyAck |
		1<<vhostuser.ProtocolFeatureConfigureMemSlots
)

const netHeaderLen = 12

// bufSize is the size of a buffer, a power of two: room for the header and a frame.
func (c *Config) bufSize() int {
	return 1 << bits.Len(uint(netHeaderLen+max(maxLen, slices.Max(c.Lengths))-1))
}

// Config is what a station is. The zero value of all but MAC is good.
type Config struct {
	MAC      MAC
	Ring     int  // descriptors in each of its two rings; 0: 256
	Observer bool // it takes any frame, answers none, and counts

	Features uint64 // that are acknowledged besides those of all stations

	// Lengths are those of its requests, in turn, at least MinLength each; nil: from 60 to 1514
	// bytes. Its buffers are big enough for them, and for 1514 bytes.
	Lengths []int
}

// A Station is a guest with its connection to a port. Except for Start, Drain, the ends and the
// counters, its methods are called before Start.
type Station struct {
	cfg Config
	run uint32
	fe  *vhostusertest.FrontEnd
	rx  *vhostusertest.Ring
	tx  *vhostusertest.Ring

	rxBufs  []virtqueuetest.Buf // by head
	txBufs  []virtqueuetest.Buf // by head, of chains with the device
	txFree  []virtqueuetest.Buf
	flows   []*flow
	heard   map[flowName]uint64 // next request of others' flows
	answers [][]byte            // to be sent

	received, answered, noise atomic.Uint64
	rounds                    atomic.Uint64 // of the loop
	paused, quit              atomic.Bool
	started                   bool
	done                      chan struct{}
	err                       error // valid when done is closed
}

// A flow is requests to one address.
type flow struct {
	flowName
	window    int
	answerers []MAC         // at least one
	came      []uint64      // by answerer: answers so far
	next      uint64        // request to be sent
	answered  atomic.Uint64 // by all answerers
	sent      atomic.Uint64
}

// Connect connects a station to a port that listens at socket, and starts its rings.
func Connect(socket string, cfg Config) (*Station, error) {
	fe, err := vhostusertest.Dial(socket)
	if err != nil {
		return nil, err
	}
	s, err := New(fe, cfg)
	if err != nil {
		fe.Close()
		return nil, err
	}
	return s, nil
}

// New makes a station of a front-end that has just connected, which belongs to it from then on.
func New(fe *vhostusertest.FrontEnd, cfg Config) (*Station, error) {
	if cfg.Ring == 0 {
		cfg.Ring = 256
	}
	if cfg.Lengths == nil {
		cfg.Lengths = lengths
	}
	bufSize := cfg.bufSize()
	s := &Station{
		cfg: cfg, fe: fe, run: rand.Uint32(),
		rxBufs: make([]virtqueuetest.Buf, cfg.Ring), txBufs: make([]virtqueuetest.Buf, cfg.Ring),
		heard: make(map[flowName]uint64),
		done:  make(chan struct{}),
	}
	if err := fe.Handshake(Features|cfg.Features, ProtocolFeatures); err != nil {
		return nil, err
	}
	mem, err := fe.NewMemory(2*cfg.Ring*(bufSize+64) + 1<<16)
	if err != nil {
		return nil, err
	}
	if err := fe.ShareMemory(); err != nil {
		return nil, err
	}
	if s.rx, err = fe.NewRing(mem, 0, cfg.Ring, cfg.Ring*bufSize); err != nil {
		return nil, err
	}
	if s.tx, err = fe.NewRing(mem, 1, cfg.Ring, cfg.Ring*bufSize); err != nil {
		return nil, err
	}
	for range cfg.Ring {
		b := s.rx.Driver.Alloc(bufSize)
		head, err := s.rx.Driver.AddChain(nil, []virtqueuetest.Buf{b})
		if err != nil {
			return nil, err
		}
		s.rxBufs[head] = b
		s.txFree = append(s.txFree, s.tx.Driver.Alloc(bufSize))
	}
	s.rx.Driver.Publish()
	for _, r := range []*vhostusertest.Ring{s.rx, s.tx} {
		if err := fe.StartRing(r); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// MAC is the station's address.
func (s *Station) MAC() MAC { return s.cfg.MAC }

// Talk makes the station send requests to an address, window of them at a time. Broadcast requests
// name up to five answerers, and are answered when each of them has answered. Other stations may
// miss broadcasts: they may come and go, and may be slower than whoever asks.
func (s *Station) Talk(to MAC, window int, answerers ...MAC) {
	if to == Broadcast {
		to = everybody(answerers)
	} else {
		answerers = []MAC{to}
	}
	s.flows = append(s.flows, &flow{
		flowName: flowName{s.cfg.MAC, to, s.run}, window: window, answerers: answerers, came: make([]uint64, len(answerers)),
	})
}

// Start starts the traffic.
func (s *Station) Start() {
	s.started = true
	go s.loop()
}

// Answered is how many requests of this station have been answered.
func (s *Station) Answered() uint64 { return s.answered.Load() }

// AnsweredBy is how many requests to one address have been answered.
func (s *Station) AnsweredBy(to MAC) (n uint64) {
	for _, f := range s.flows {
		if f.target == to {
			n += f.answered.Load()
		}
	}
	return n
}

// Received is how many frames this station has received.
func (s *Station) Received() uint64 { return s.received.Load() }

// Noise is how many frames of EtherTypeNoise this station has received.
func (s *Station) Noise() uint64 { return s.noise.Load() }

// Err returns what has gone wrong so far.
func (s *Station) Err() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}

// Await waits until n more requests are answered. It fails when that takes longer than it can on
// any machine: then frames are lost.
func (s *Station) Await(n uint64) error {
	want := s.Answered() + n
	return s.until(fmt.Sprintf("%d requests are answered", n), func() bool { return s.Answered() >= want })
}

// Drain sends no new requests and waits until all are answered.
func (s *Station) Drain() error {
	s.paused.Store(true)
	now := s.rounds.Load()
	return s.until("all requests are answered", func() bool {
		if s.rounds.Load() < now+2 {
			return false // it may not have seen that yet
		}
		for _, f := range s.flows {
			if f.answered.Load() != f.sent.Load() {
				return false
			}
		}
		return true
	})
}

// Resume ends what Drain began.
func (s *Station) Resume() { s.paused.Store(false) }

func (s *Station) until(what string, condition func() bool) error {
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		if err := s.Err(); err != nil {
			return err
		}
		if condition() {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("station %s: after a minute, it is still not so that %s: %s", s.cfg.MAC, what, s.state())
		}
	}
}

func (s *Station) state() (text string) {
	for _, f := range s.flows {
		text += fmt.Sprintf("[%s: %d sent, %d answered]", f.flowName, f.sent.Load(), f.answered.Load())
	}
	return text
}

// Leave ends the traffic, stops the rings and closes the connection, as a front-end does that shuts
// down. It returns what has gone wrong in the station's life.
func (s *Station) Leave() error {
	err := s.halt()
	for _, r := range s.fe.Rings {
		if _, serr := s.fe.StopRing(r); serr != nil {
			err = errors.Join(err, serr)
		}
	}
	s.fe.Close()
	return err
}

// Die closes the connection and all that goes with it, as the end of a process does.
func (s *Station) Die() error {
	err := s.halt()
	s.fe.Close()
	return err
}

func (s *Station) halt() error {
	if !s.started {
		return nil
	}
	s.quit.Store(true)
	<-s.done
	return s.err
}

func (s *Station) loop() {
	defer close(s.done)
	for !s.quit.Load() {
		s.rounds.Add(1)
		n, err := s.receive()
		if err != nil {
			s.err = fmt.Errorf("station %s: %w", s.cfg.MAC, err)
			return
		}
		if n+s.send() == 0 {
			s.sleep()
		}
	}
}

// sleep waits for frames, and looks now and then whether there is something to be done that no
// frame tells of.
func (s *Station) sleep() {
	if !s.rx.Driver.Arm() {
		_ = vhostusertest.WaitEventFD(s.rx.CallFD, 5*time.Millisecond)
	}
	s.rx.Driver.Disarm()
}

// receive takes all frames that have come, and gives their buffers back.
func (s *Station) receive() (n int, err error) {
	drv := s.rx.Driver
	var hdr [netHeaderLen]byte
	for ; err == nil; n++ {
		head, size, ok := drv.PollUsed()
		if !ok {
			break
		}
		b := drv.Bytes(s.rxBufs[head])
		if size < netHeaderLen || int(size) > len(b) {
			return n, fmt.Errorf("%d bytes used of a buffer", size)
		}
		copy(hdr[:], b)
		// Nothing is asked for that was not negotiated, and one buffer is enough.
		if want := [netHeaderLen]byte{10: 1}; hdr != want {
			return n, fmt.Errorf("virtio-net header is %x", hdr)
		}
		s.received.Add(1)
		if !s.cfg.Observer {
			err = s.handle(b[netHeaderLen:size])
		}
		drv.Offer(head)
	}
	if n > 0 && drv.Publish() {
		err = errors.Join(err, s.rx.Kick())
	}
	return n, err
}

// handle looks at a frame, which is only valid until it returns.
func (s *Station) handle(frame []byte) error {
	if len(frame) >= 14 && frame[12] == EtherTypeNoise>>8 && frame[13] == EtherTypeNoise&0xff {
		s.noise.Add(1)
		return nil
	}
	if bytes.HasPrefix(frame, probes[:]) {
		return nil
	}
	dst, src, f, n, err := parse(frame)
	switch {
	case err != nil:
		return err
	case dst != s.cfg.MAC && dst != Broadcast:
		return fmt.Errorf("frame from %s to %s (%s) came here", src, dst, f)
	case f.origin == s.cfg.MAC:
		return s.answerCame(src, f, n)
	case src != f.origin:
		return fmt.Errorf("request from %s comes from %s", f, src)
	}
	// Who is not asked may have missed some.
	if want := s.heard[f]; n < want || n > want && f.asks(s.cfg.MAC) {
		return fmt.Errorf("request %d from %s came, %d was expected", n, f, want)
	}
	s.heard[f] = n + 1
	if !f.asks(s.cfg.MAC) {
		return nil
	}
	a := slices.Clone(frame)
	copy(a[0:6], f.origin[:])
	copy(a[6:12], s.cfg.MAC[:])
	s.answers = append(s.answers, a)
	return nil
}

func (s *Station) answerCame(from MAC, name flowName, n uint64) error {
	if name.run != s.run {
		return nil // asked by whoever had this address before
	}
	i := slices.IndexFunc(s.flows, func(f *flow) bool { return f.flowName == name })
	if i < 0 {
		return fmt.Errorf("answer from %s to a request that was never made: %s", from, name)
	}
	f := s.flows[i]
	by := slices.Index(f.answerers, from)
	if by < 0 {
		return fmt.Errorf("answer from %s, %v were asked", from, f.answerers)
	}
	if want := f.came[by]; n != want {
		return fmt.Errorf("answer %d from %s (%s) came, %d was expected", n, from, name, want)
	}
	f.came[by]++
	if all := slices.Min(f.came); all > f.answered.Load() {
		f.answered.Store(all)
		s.answered.Add(1)
	}
	return nil
}

// send sends what there is to be sent: answers, then requests.
func (s *Station) send() (n int) {
	drv := s.tx.Driver
	for {
		head, _, ok := drv.PollUsed()
		if !ok {
			break
		}
		drv.Release(head)
		s.txFree = append(s.txFree, s.txBufs[head])
	}
	for len(s.answers) > 0 && s.put(func(b []byte) []byte { return append(b, s.answers[0]...) }) {
		s.answers = s.answers[1:]
		n++
	}
	for _, f := range s.flows {
		for !s.paused.Load() && f.next-f.answered.Load() < uint64(f.window) {
			// Before it can be answered.
			f.sent.Store(f.next + 1)
			size := s.cfg.Lengths[f.next%uint64(len(s.cfg.Lengths))]
			if !s.put(func(b []byte) []byte { return appendRequest(b, f.flowName, f.next, size) }) {
				f.sent.Store(f.next)
				break
			}
			f.next++
			n++
		}
	}
	if n > 0 && drv.Publish() {
		_ = s.tx.Kick() // an eventfd of ours
	}
	return n
}

// put offers the frame that fill appends, if there is room.
func (s *Station) put(fill func([]byte) []byte) bool {
	if len(s.txFree) == 0 {
		return false
	}
	drv := s.tx.Driver
	b := s.txFree[len(s.txFree)-1]
	mem := drv.Bytes(b)
	clear(mem[:netHeaderLen])
	frame := fill(mem[:netHeaderLen])
	head, err := drv.AddChain([]virtqueuetest.Buf{{Addr: b.Addr, Len: uint32(len(frame))}}, nil)
	if err != nil {
		return false
	}
	s.txFree = s.txFree[:len(s.txFree)-1]
	s.txBufs[head] = b
	return true
}

// FrontEnd returns the station's front-end, to be hostile with. Its rings belong to the station
// while that is running.
func (s *Station) FrontEnd() *vhostusertest.FrontEnd { return s.fe }
