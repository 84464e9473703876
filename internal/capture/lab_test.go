package capture_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
	"golang.org/x/net/bpf"

	"vswitchd/internal/capture"
	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// A lab is a switch with ports that discard frames, and its captures.
type lab struct {
	t    testing.TB
	sw   *vswitch.Switch
	pool *capture.Pool
	in   map[string]*vswitch.Inlet
}

func newLab(t testing.TB, ports ...string) *lab {
	sw := vswitch.New(vswitch.Config{})
	t.Cleanup(sw.Close)
	l := &lab{t: t, sw: sw, pool: capture.NewPool(sw), in: make(map[string]*vswitch.Inlet)}
	for _, name := range ports {
		l.add(name, nil)
	}
	return l
}

// add attaches a port, which is p if that is not nil.
func (l *lab) add(name string, p vswitch.Port) {
	l.t.Helper()
	cfg := vswitch.DefaultPortConfig(name)
	cfg.Counters = new(vswitch.Counters)
	if p == nil {
		p = &vswitchtest.Sink{Counters: cfg.Counters, Takes: vswitch.Caps{Csum: true, TSO4: true}}
	}
	a, err := l.sw.Attach(cfg, p)
	if err != nil {
		l.t.Fatal(err)
	}
	a.SetUp(true)
	l.in[name] = a.NewInlet()
}

// A session is a capture that runs.
type session struct {
	*capture.Capture
	t    testing.TB
	out  *output
	done chan error
}

// An output collects what is written, and lets writers wait while it is held.
type output struct {
	mu      sync.Mutex
	b       bytes.Buffer
	flushes int
	holding sync.Mutex
	waiting atomic.Int32 // writers that wait for holding, or write
}

func (o *output) Write(b []byte) (int, error) {
	o.waiting.Add(1)
	defer o.waiting.Add(-1)
	o.holding.Lock()
	defer o.holding.Unlock()
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(b)
}

func (o *output) flush() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.flushes++
	return nil
}

func (o *output) flushed() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.flushes
}

// capture starts a capture, and returns when it sees frames.
func (l *lab) capture(cfg capture.Config) *session {
	l.t.Helper()
	c, err := l.pool.Open(cfg)
	if err != nil {
		l.t.Fatal(err)
	}
	s := &session{Capture: c, t: l.t, out: new(output), done: make(chan error, 1)}
	go func() { s.done <- c.Run(context.Background(), s.out, s.out.flush) }()
	eventually(l.t, func() bool { return s.out.flushed() > 0 })
	return s
}

func eventually(t testing.TB, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it has not happened within a minute")
		}
	}
}

// end waits for the end of the capture, and returns what it has written.
func (s *session) end() *contents {
	s.t.Helper()
	if err := <-s.done; err != nil {
		s.t.Fatal(err)
	}
	return parse(s.t, s.out.b.Bytes())
}

// finish stops the capture.
func (s *session) finish() *contents {
	s.t.Helper()
	s.Stop()
	return s.end()
}

// contents is a file, as gopacket reads it.
type contents struct {
	interfaces []pcapgo.NgInterface
	packets    []packet
}

type packet struct {
	data     []byte
	info     gopacket.CaptureInfo
	flags    uint32
	comments string
}

func parse(t testing.TB, b []byte) *contents {
	t.Helper()
	r, err := pcapgo.NewNgReader(bytes.NewReader(b), pcapgo.NgReaderOptions{ErrorOnMismatchingLinkType: true})
	if err != nil {
		t.Fatal(err)
	}
	c := new(contents)
	for {
		data, info, options, err := r.ReadPacketDataWithOptions()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		p := packet{data: data, info: info, comments: strings.Join(options.Comments, "; ")}
		if options.Flags != nil {
			p.flags = options.Flags.ToUint32()
		}
		c.packets = append(c.packets, p)
	}
	for i := range r.NInterfaces() {
		n, err := r.Interface(i)
		if err != nil {
			t.Fatal(err)
		}
		c.interfaces = append(c.interfaces, n)
	}
	return c
}

// all selects all frames that pass these ports.
func all(ports ...string) capture.Config {
	return capture.Config{Select: vswitch.TapConfig{Ports: ports, In: true, Out: true}, Ports: ports}
}

// udp makes an Ethernet frame with a UDP datagram to a port.
func udp(t testing.TB, dst, src vswitch.MAC, port int, payload []byte) []byte {
	t.Helper()
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: []byte{10, 0, 0, 1}, DstIP: []byte{10, 0, 0, 2}}
	u := &layers.UDP{SrcPort: 1000, DstPort: layers.UDPPort(port)}
	if err := u.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	b := gopacket.NewSerializeBuffer()
	err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: src[:], DstMAC: dst[:], EthernetType: layers.EthernetTypeIPv4}, ip, u, gopacket.Payload(payload))
	if err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// program compiles a filter that selects frames to a UDP port, as tcpdump would.
func udpPort(port uint32) []bpf.RawInstruction {
	return []bpf.RawInstruction{
		{Op: 40, K: 12}, {Op: 21, Jf: 8, K: 2048}, // IPv4
		{Op: 48, K: 23}, {Op: 21, Jf: 6, K: 17}, // UDP
		{Op: 40, K: 20}, {Op: 69, Jt: 4, K: 0x1fff}, // no fragment
		{Op: 177, K: 14}, {Op: 72, K: 16}, {Op: 21, Jf: 1, K: port},
		{Op: 6, K: 262144}, {Op: 6},
	}
}

func frame(b []byte) []vswitch.Frame { return []vswitch.Frame{vswitchtest.Frame(b)} }
