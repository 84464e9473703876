package load

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Traffic says who sends what to whom: port 0 to 1, 2 to 3 and so on, or all ports to the last.
type Traffic struct {
	Shape  Shape
	Size   int  // bytes of a frame, without FCS
	Flows  int  // of each sender, a multiple of its queues (rounded up); 0: 1
	MACs   int  // addresses of each port, each of them the source of some flows; 0: 1
	Pairs  int  // how many pairs of ports have traffic; 0: all
	Both   bool // each port of a pair sends to the other
	Toward bool // all ports but the last send to the last; Pairs and Both have no meaning
	Storm  bool // in Saturate, all other ports send broadcasts, as many as the back-end takes; these are not counted

	// Spin is how many turns of an empty loop the generator takes between two looks at its rings,
	// and Batch is how many buffers it recycles at least at a time: whoever looks at a ring that
	// the other side is writing slows it down. 0: what was found to be best for the back-ends that
	// there are.
	Spin, Batch int

	// Waited, if there is one, returns for how long the generator and the back-end have been ready
	// to run and not running so far, because something else ran in their place. See Rate.Calm.
	Waited func() time.Duration
}

// See Traffic.
const (
	defaultSpin  = 200
	defaultBatch = 32
)

// quietEvery is for how many rounds a port without traffic is not looked at.
const quietEvery = 64

// sampleEvery is how many frames a receiveq takes before the next is looked at.
const sampleEvery = 1000

// A Generator is some guests and the traffic between them.
type Generator struct {
	ports   []*Port
	traffic Traffic
	maker   *maker
	senders []*sender
	storm   []*sender   // of broadcasts, see Traffic.Storm
	busy    []*receiver // of ports with traffic
	quiet   []*receiver // of the others
	hushed  bool        // what arrives is of no interest
	rounds  uint
	spun    int
}

// A sender is a transmitq with traffic to one port.
type sender struct {
	*queue
	maker    *maker
	from, to uint8
	lane     int // its number among its port's queues
	lanes    int
	flow     int      // of the next frame, as a multiple of lanes
	numbers  []uint64 // by flow: last used
	varies   bool     // frames have to be written anew each time
}

// A receiver is a receiveq.
type receiver struct {
	*queue
	port    uint8
	sampled uint64 // total at the last sample
	size    uint32 // bytes of a frame with its header, to be told from those of a storm; 0: all are counted
	stormed uint64 // of total: frames of a storm

	last         [][]uint64 // number last received, by port and flow; nil: frames are not numbered
	seen, strays uint64
}

// NewGenerator prepares traffic between ports, whose rings are idle. The ports belong to the
// caller.
func NewGenerator(ports []*Port, t Traffic) (*Generator, error) {
	t.Flows, t.MACs = max(t.Flows, 1), max(t.MACs, 1)
	if len(ports) > 0 {
		lanes := len(ports[0].tx)
		t.Flows = (t.Flows + lanes - 1) / lanes * lanes
	}
	if t.Pairs == 0 || t.Toward {
		t.Pairs = len(ports) / 2
	}
	if t.Spin == 0 {
		t.Spin = defaultSpin
	}
	if t.Batch == 0 {
		t.Batch = defaultBatch
	}
	least := MinSize
	if t.Shape == GSO {
		least = tcpData + tagLen
	}
	switch {
	case len(ports) < 2*t.Pairs || len(ports) > 256 || t.Pairs < 1:
		return nil, fmt.Errorf("%d ports for %d pairs (at most 256 ports)", len(ports), t.Pairs)
	case slices.ContainsFunc(ports, func(p *Port) bool { return len(p.tx) != len(ports[0].tx) }):
		return nil, errors.New("not all ports have the same number of queues")
	case t.Size < least:
		return nil, fmt.Errorf("%d bytes are not enough for a frame, %d are", t.Size, least)
	case t.MACs > 1<<24:
		return nil, fmt.Errorf("%d addresses, there are 2^24", t.MACs)
	}
	g := &Generator{ports: ports, traffic: t, maker: newMaker(t.Shape, t.Size, t.MACs)}
	for i, p := range ports {
		if p.cfg.MaxFrame < t.Size {
			return nil, fmt.Errorf("port %d is for frames of %d bytes, not %d", i, p.cfg.MaxFrame, t.Size)
		}
		for _, q := range p.rx {
			r := &receiver{queue: q, port: uint8(i)}
			if t.Storm {
				r.size = uint32(headerLen + t.Size)
			}
			if i < 2*t.Pairs || t.Toward {
				g.busy = append(g.busy, r)
			} else {
				g.quiet = append(g.quiet, r)
			}
		}
	}
	for _, l := range t.routes(len(ports)) {
		if err := g.addSender(l.from, l.to); err != nil {
			return nil, err
		}
	}
	if t.Storm {
		return g, g.addStorm()
	}
	return g, nil
}

// A route is from one port to another.
type route struct{ from, to int }

// routes returns the routes that have traffic.
func (t *Traffic) routes(ports int) (all []route) {
	if t.Toward {
		for i := range ports - 1 {
			all = append(all, route{i, ports - 1})
		}
		return all
	}
	for i := range t.Pairs {
		all = append(all, route{2 * i, 2*i + 1})
		if t.Both {
			all = append(all, route{2*i + 1, 2 * i})
		}
	}
	return all
}

// introductions returns the routes on which every port that sends or receives shows its addresses
// to one that it has traffic with.
func (t *Traffic) introductions(ports int) (all []route) {
	if t.Toward {
		return append(t.routes(ports), route{ports - 1, 0})
	}
	for i := range 2 * t.Pairs {
		all = append(all, route{i, i ^ 1})
	}
	return all
}

// addStorm prepares the broadcasts of all other ports. Their length tells them from other frames.
func (g *Generator) addStorm() error {
	m := newMaker(Broadcast, g.traffic.Size+1, 1)
	for i := 2 * g.traffic.Pairs; i < len(g.ports); i++ {
		p := g.ports[i]
		if p.cfg.MaxFrame < m.size {
			return fmt.Errorf("port %d is for frames of %d bytes, not %d", i, p.cfg.MaxFrame, m.size)
		}
		s := &sender{queue: p.tx[0], maker: m, from: uint8(i), to: uint8(i), lanes: 1, numbers: make([]uint64, 1)}
		s.prepare()
		g.storm = append(g.storm, s)
	}
	return nil
}

// addSender prepares the traffic from one port to another: all buffers hold a frame.
func (g *Generator) addSender(from, to int) error {
	lanes := len(g.ports[from].tx)
	for lane, q := range g.ports[from].tx {
		if q.out() != 0 {
			return errors.New("port has traffic already")
		}
		s := &sender{queue: q, maker: g.maker, from: uint8(from), to: uint8(to), lane: lane, lanes: lanes}
		s.numbers = make([]uint64, (g.traffic.Flows+lanes-1)/lanes)
		s.varies = len(s.numbers) > q.size
		s.prepare()
		g.senders = append(g.senders, s)
	}
	return nil
}

// prepare writes a frame to each buffer.
func (s *sender) prepare() {
	s.setup(headerLen+s.maker.size, false)
	for i := range s.size {
		s.maker.fill(s.buf(s.at(s.next+i)), s.tag(i%len(s.numbers)))
	}
}

// tag returns the tag of a frame without number in one of the sender's flows.
func (s *sender) tag(flow int) tag {
	return tag{from: s.from, to: s.to, flow: uint32(flow*s.lanes + s.lane)}
}

// stamp writes the next n frames, one of each flow in turn.
func (g *Generator) stamp(s *sender, n int, numbered bool) {
	for i := range n {
		t := s.tag(s.flow)
		if numbered {
			s.numbers[s.flow]++
			t.number = s.numbers[s.flow]
		}
		if s.flow++; s.flow == len(s.numbers) {
			s.flow = 0
		}
		s.maker.restamp(s.buf(s.at(s.next+i)), t)
	}
}

// send offers n more frames.
func (g *Generator) send(s *sender, n int) {
	if s.varies {
		g.stamp(s, n, false)
	}
	s.offer(n)
}

// Announce has every port of a pair send one frame from each of its addresses to the other port,
// and takes whatever comes of it, so that a switch knows where everybody is.
func (g *Generator) Announce() error {
	g.hushed = true
	defer func() { g.hushed = false }()
	for _, l := range g.traffic.introductions(len(g.ports)) {
		q := g.ports[l.from].tx[0]
		m := newMaker(UDP, MinSize, g.traffic.MACs)
		q.setup(headerLen+MinSize, false)
		for n := 0; n < g.traffic.MACs; {
			k := min(g.traffic.MACs-n, q.pending, announceBatch)
			for j := range k {
				m.fill(q.buf(q.at(q.next+j)), tag{from: uint8(l.from), to: uint8(l.to), flow: uint32(n + j)})
			}
			q.offer(k)
			if err := g.await("the back-end has taken the frames", q); err != nil {
				return err
			}
			n += k
		}
	}
	if err := g.settle(); err != nil {
		return err
	}
	senders := g.senders
	g.senders = nil
	for _, s := range senders {
		if s.lane == 0 {
			if err := g.addSender(int(s.from), int(s.to)); err != nil {
				return err
			}
		}
	}
	return nil
}

// announceBatch is how many new addresses a back-end is shown at a time.
const announceBatch = 32

// patience is how long a back-end may take for what it should do at once.
const patience = 20 * time.Second

// await takes frames until the device has used all buffers of a transmitq.
func (g *Generator) await(what string, q *queue) error {
	for end := time.Now().Add(patience); q.out() != 0; {
		if _, err := q.reap(); err != nil {
			return err
		}
		if err := g.receiveAll(); err != nil {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("after %v it is still not so that %s", patience, what)
		}
	}
	return nil
}

// receiveAll takes what has arrived anywhere.
func (g *Generator) receiveAll() error {
	for _, rs := range [][]*receiver{g.busy, g.quiet} {
		for _, r := range rs {
			if _, err := g.receive(r, 1); err != nil {
				return err
			}
		}
	}
	return nil
}

// quietFor is how long nothing has to arrive until nothing more is expected.
const quietFor = 20 * time.Millisecond

// settle ends traffic: it waits until the device has used all that was sent, and nothing more
// arrives.
func (g *Generator) settle() error {
	for _, all := range [][]*sender{g.senders, g.storm} {
		for _, s := range all {
			if err := g.await("the back-end has taken what was sent", s.queue); err != nil {
				return err
			}
		}
	}
	before, since := uint64(0), time.Now()
	for time.Since(since) < quietFor {
		if err := g.receiveAll(); err != nil {
			return err
		}
		if n := g.received(); n != before {
			before, since = n, time.Now()
		}
	}
	return nil
}

// received returns how many frames have arrived at ports with traffic.
func (g *Generator) received() (n uint64) {
	for _, r := range g.busy {
		n += r.total - r.stormed
	}
	return n
}

// sent returns how many frames the device has taken.
func (g *Generator) sent() (n uint64) {
	for _, s := range g.senders {
		n += s.total
	}
	return n
}

// receive takes what has arrived in a receiveq and gives the buffers back, if there are batch of
// them at least.
func (g *Generator) receive(r *receiver, batch int) (int, error) {
	n, err := r.reap()
	if err != nil || n == 0 {
		return 0, err
	}
	if r.size != 0 {
		r.sort(n)
	}
	switch {
	case g.hushed:
	case r.last != nil:
		err = g.examine(r, n)
	case r.total-r.sampled >= sampleEvery:
		r.sampled = r.total
		err = g.sample(r)
	}
	if r.pending >= batch {
		r.offer(r.pending)
	}
	return n, err
}

// sort counts those of the n frames that have just arrived that are of a storm.
func (r *receiver) sort(n int) {
	for k := range n {
		if _, size := r.ring.used(k); size != r.size {
			r.stormed++
		}
	}
}

// sample looks at one frame that has arrived, and then makes another of it.
func (g *Generator) sample(r *receiver) error {
	buf, err := r.received(0)
	if err != nil {
		return err
	}
	if r.size != 0 && len(buf) != int(r.size) {
		return nil // a storm's
	}
	t, err := g.maker.parse(buf)
	if errors.Is(err, errForeign) {
		return nil // somebody else's
	}
	if err == nil {
		clear(buf)
		if t.to != r.port && g.maker.shape != Broadcast {
			err = fmt.Errorf("%v came to port %d", t, r.port)
		}
	}
	return err
}

// pause takes a little time.
func (g *Generator) pause() {
	for range g.traffic.Spin {
		g.spun++
	}
}
