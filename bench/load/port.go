package load

import (
	"errors"
	"fmt"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"vswitchd/vhostuser"
	"vswitchd/vhostuser/vhostusertest"
	"vswitchd/virtqueue"
	"vswitchd/virtqueue/virtqueuetest"
)

// Feature bits of a network device (virtio 1.2, section 5.1.3).
const (
	featureCsum      = 0
	featureGuestCsum = 1
	featureGuestTSO4 = 7
	featureHostTSO4  = 11
	featureMrgRxbuf  = 15
	featureMQ        = 22
)

// headerLen is the length of the virtio-net header with MRG_RXBUF or VERSION_1.
const headerLen = 12

// Config is what a guest is. The zero value is one with one pair of split rings of 256 entries,
// QEMU's default, for frames of up to 1518 bytes.
type Config struct {
	Ring       int  // entries of each ring; 0: 256
	Queues     int  // queue pairs; 0: 1
	MaxFrame   int  // bytes of the longest frame; 0: 1518
	Packed     bool // packed rings
	Offloads   bool // checksums and TCP segmentation are left to the device, in both directions
	NoEventIdx bool // ring flags instead of event indices
}

func (c Config) withDefaults() Config {
	if c.Ring == 0 {
		c.Ring = 256
	}
	if c.Queues == 0 {
		c.Queues = 1
	}
	if c.MaxFrame == 0 {
		c.MaxFrame = 1518
	}
	return c
}

// features returns what the back-end has to offer, and what is acknowledged besides if it does.
func (c Config) features() (must, may uint64) {
	must = 1<<virtqueue.FeatureVersion1 | 1<<featureMrgRxbuf
	may = 1<<virtqueue.FeatureIndirectDesc | 1<<vhostuser.FeatureProtocolFeatures
	if c.Packed {
		must |= 1 << virtqueue.FeatureRingPacked
	}
	if c.Queues > 1 {
		must |= 1<<featureMQ | 1<<vhostuser.FeatureProtocolFeatures
	}
	if c.Offloads {
		must |= 1<<featureCsum | 1<<featureGuestCsum | 1<<featureGuestTSO4 | 1<<featureHostTSO4
	}
	if !c.NoEventIdx {
		may |= 1 << virtqueue.FeatureEventIdx
	}
	return must, may
}

const protocolFeatures = 1<<vhostuser.ProtocolFeatureMQ | 1<<vhostuser.ProtocolFeatureReplyAck |
	1<<vhostuser.ProtocolFeatureConfigureMemSlots

// A Port is a guest that is connected to a back-end's port, with its rings running.
type Port struct {
	cfg    Config
	fe     *vhostusertest.FrontEnd
	rx, tx []*queue
}

// Dial connects to a back-end that listens at path.
func Dial(path string, cfg Config) (*Port, error) {
	fe, err := vhostusertest.Dial(path)
	if err != nil {
		return nil, err
	}
	return New(fe, cfg)
}

// Listen makes a socket for a back-end that connects. It is removed when the listener is closed.
func Listen(path string) (*net.UnixListener, error) {
	return net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
}

// Accept waits for a back-end to connect, for at most a minute.
func Accept(l *net.UnixListener, cfg Config) (*Port, error) {
	if err := l.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return nil, err
	}
	c, err := l.AcceptUnix()
	if err != nil {
		return nil, fmt.Errorf("waiting for a back-end: %w", err)
	}
	return New(vhostusertest.New(c), cfg)
}

// New starts a guest on a front-end that has just connected, which belongs to it from then on.
func New(fe *vhostusertest.FrontEnd, cfg Config) (*Port, error) {
	p := &Port{cfg: cfg.withDefaults(), fe: fe}
	if err := p.start(); err != nil {
		fe.Close()
		return nil, err
	}
	return p, nil
}

// Close stops the rings and closes the connection, as a front-end does that shuts down.
func (p *Port) Close() {
	for _, r := range p.fe.Rings {
		if _, err := p.fe.StopRing(r); err != nil {
			break // the back-end is gone
		}
	}
	p.fe.Close()
}

// Features returns the features that were negotiated.
func (p *Port) Features() uint64 { return p.fe.Features }

func (p *Port) start() error {
	must, may := p.cfg.features()
	if err := p.fe.Handshake(must|may, protocolFeatures); err != nil {
		return err
	}
	if lacks := must &^ p.fe.Features; lacks != 0 {
		return fmt.Errorf("the back-end does not offer feature bits %#x", lacks)
	}
	// An odd number of cache lines: buffers do not compete for the same sets of the cache.
	stride := ((headerLen+p.cfg.MaxFrame+63)/64 | 1) * 64
	rings, err := p.fe.NewMemory(2 * p.cfg.Queues * ringRoom(p.cfg.Ring))
	if err != nil {
		return err
	}
	bufs, err := p.fe.NewMemory(2 * p.cfg.Queues * p.cfg.Ring * stride)
	if err != nil {
		return err
	}
	if err := p.fe.ShareMemory(); err != nil {
		return err
	}
	for i := range 2 * p.cfg.Queues {
		q, err := p.newQueue(i, rings, bufs, stride)
		if err != nil {
			return fmt.Errorf("ring %d: %w", i, err)
		}
		if i%2 == 0 {
			p.rx = append(p.rx, q)
		} else {
			p.tx = append(p.tx, q)
		}
	}
	for _, r := range p.fe.Rings {
		if err := p.fe.StartRing(r); err != nil {
			return err
		}
	}
	return nil
}

// ringRoom is how many bytes a ring takes: its three areas do not share a page, as with guests'
// drivers.
func ringRoom(size int) int { return pages(16*size) + pages(2*size+6) + pages(8*size+6) }

func pages(n int) int { return (n + 4095) &^ 4095 }

// newQueue makes ring i and gives the device all buffers of a receiveq.
func (p *Port) newQueue(i int, rings, bufs *vhostusertest.Memory, stride int) (*queue, error) {
	size := p.cfg.Ring
	cfg := virtqueue.Config{Size: size, Features: p.fe.Features}
	cfg.Desc = rings.Region.UserAddr + uint64(i*ringRoom(size))
	cfg.Avail = cfg.Desc + uint64(pages(16*size))
	cfg.Used = cfg.Avail + uint64(pages(2*size+6))
	var table []virtqueue.Region
	for _, m := range p.fe.Memory {
		table = append(table, virtqueue.Region{GuestAddr: m.Region.GuestAddr, UserAddr: m.Region.UserAddr, Mem: m.Bytes})
	}
	drv, err := virtqueuetest.New(table, cfg)
	if err != nil {
		return nil, err
	}
	kick, err := vhostusertest.NewEventFD()
	if err != nil {
		return nil, err
	}
	call, err := vhostusertest.NewEventFD()
	if err != nil {
		return nil, errors.Join(err, unix.Close(kick))
	}
	p.fe.Rings = append(p.fe.Rings, &vhostusertest.Ring{Index: i, Driver: drv, KickFD: kick, CallFD: call})

	q := &queue{size: size, stride: stride, kick: kick, call: call, pending: size}
	q.addr = bufs.Region.GuestAddr + uint64(i*size*stride)
	q.bufs = bufs.Bytes[i*size*stride:][:size*stride]
	mem := area{rings.Region.UserAddr, rings.Bytes}
	if p.cfg.Packed {
		q.ring, err = newPackedRing(mem, cfg)
	} else {
		q.ring, err = newSplitRing(mem, cfg)
	}
	if err != nil {
		return nil, err
	}
	if i%2 == 0 {
		q.setup(stride, true)
		q.offer(size)
	}
	return q, nil
}
