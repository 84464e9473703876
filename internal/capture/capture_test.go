package capture_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"vswitchd/internal/capture"
	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

var (
	macA = vswitchtest.Station(1)
	macB = vswitchtest.Station(2)
)

// All frames are in the file byte by byte and in order, with their times, interfaces, directions
// and lengths.
func TestFilesHaveTheFrames(t *testing.T) {
	l := newLab(t, "a", "b")
	before := time.Now()
	s := l.capture(all("a", "b"))
	var sent [][]byte
	for i := range 500 {
		b := udp(t, vswitchtest.Broadcast, macA, i, bytes.Repeat([]byte{byte(i)}, i*7))
		sent = append(sent, b)
		l.in["a"].Deliver(frame(b))
	}
	got := s.finish()
	if len(got.interfaces) != 2 || got.interfaces[0].Name != "a" || got.interfaces[1].Name != "b" {
		t.Fatalf("interfaces %+v", got.interfaces)
	}
	if len(got.packets) != 2*len(sent) {
		t.Fatalf("%d packets, want %d", len(got.packets), 2*len(sent))
	}
	last := before
	for i, p := range got.packets {
		if want := sent[i/2]; !bytes.Equal(p.data, want) || p.info.Length != len(want) {
			t.Fatalf("packet %d is %x, want %x", i, p.data, want)
		}
		if p.info.InterfaceIndex != i%2 || p.flags != uint32(1+i%2) || p.comments != "" {
			t.Fatalf("packet %d: interface %d, flags %d, %q", i, p.info.InterfaceIndex, p.flags, p.comments)
		}
		if p.info.Timestamp.Before(last.Truncate(0)) || p.info.Timestamp.After(time.Now()) {
			t.Fatalf("packet %d: %v is before %v, or in the future", i, p.info.Timestamp, last)
		}
		last = p.info.Timestamp
	}
	for _, n := range got.interfaces {
		if s := n.Statistics; s.PacketsReceived != 500 || s.PacketsDropped != 0 {
			t.Errorf("%s: statistics %+v", n.Name, s)
		}
	}
	if infos := l.pool.List(); len(infos) != 0 {
		t.Errorf("after its end: %+v", infos)
	}
	if captured, lost := l.pool.Totals(); captured != 1000 || lost != 0 {
		t.Errorf("captured %d, lost %d", captured, lost)
	}
}

// Times have nanoseconds: of many frames, some time is no whole number of microseconds.
func TestTimesHaveNanoseconds(t *testing.T) {
	l := newLab(t, "a", "b")
	s := l.capture(all("a"))
	for range 50 {
		l.in["a"].Deliver(frame(udp(t, macB, macA, 1, nil)))
	}
	for _, p := range s.finish().packets {
		if p.info.Timestamp.Nanosecond()%1000 != 0 {
			return
		}
	}
	t.Error("all times are whole microseconds")
}

// A frame is cut to snaplen, wherever in the frame that is; the whole length is in the file as
// well.
func TestSnaplen(t *testing.T) {
	for _, snaplen := range []int{14, 100, vswitch.HeadLen, 129, 1000, 0} {
		for _, length := range []int{60, vswitch.HeadLen, 500, 9000, 65000} {
			l := newLab(t, "a", "b")
			cfg := all("a")
			cfg.Snaplen = snaplen
			s := l.capture(cfg)
			b := udp(t, macB, macA, 1, bytes.Repeat([]byte("0123456789"), 6600))[:length]
			l.in["a"].Deliver(frame(b))
			got := s.finish().packets
			want := b
			if snaplen != 0 && snaplen < length {
				want = b[:snaplen]
			}
			if len(got) != 1 || !bytes.Equal(got[0].data, want) || got[0].info.Length != length {
				t.Errorf("snaplen %d, length %d: got %d packets, the first %+v", snaplen, length, len(got), got[0].info)
			}
		}
	}
}

// A large frame that its receiver cuts is in the file once, with its length and what its sender has
// left to be done.
func TestOffloadsAreComments(t *testing.T) {
	l := newLab(t, "a", "b")
	s := l.capture(all("a"))
	b := udp(t, macB, macA, 1, make([]byte, 5000))
	f := frame(b)
	f[0].Offload = vswitch.Offload{Flags: vswitch.HdrNeedsCsum, CsumStart: 34, CsumOffset: 6, GSOType: vswitch.GSOUDPL4, GSOSize: 1000, HdrLen: 42}
	l.in["a"].Deliver(f)
	got := s.finish().packets
	want := "virtio-net: needs_csum start 34 offset 6, gso udp_l4 size 1000 headers 42"
	if len(got) != 1 || got[0].comments != want || got[0].info.Length != len(b) {
		t.Errorf("%d packets, %+v", len(got), got)
	}
}

// Drops have their reason, stage and source; a rule of a filter is named.
func TestDropsAreComments(t *testing.T) {
	l := newLab(t, "a", "b")
	change := vswitch.Change{KeepStatic: true, SetFilters: true, Filters: []vswitch.FilterConfig{{
		Name: "f", Default: vswitch.FilterAccept, Rules: []vswitch.FilterRule{{Name: "no-udp", Action: vswitch.FilterDrop, Protos: []uint8{17}}},
	}}}
	if _, err := l.sw.Apply(&change); err != nil {
		t.Fatal(err)
	}
	cfg := vswitch.DefaultPortConfig("filtered")
	cfg.IngressFilter = "f"
	a, err := l.sw.Attach(cfg, &vswitchtest.Recorder{})
	if err != nil {
		t.Fatal(err)
	}
	a.SetUp(true)
	l.add("full", refusing{})
	s := l.capture(capture.Config{Ports: []string{"a"}, Select: vswitch.TapConfig{AllPorts: true, In: true, Out: true, Drops: true}})
	l.in["a"].Deliver(frame(udp(t, macB, vswitchtest.Broadcast, 1, nil)))
	l.in["a"].Deliver(frame(udp(t, vswitchtest.Broadcast, macA, 1, nil)))
	a.NewInlet().Deliver(frame(udp(t, macA, macB, 1, nil)))
	var got []string
	file := s.finish()
	for _, p := range file.packets {
		got = append(got, fmt.Sprintf("%s %d %s", file.interfaces[p.info.InterfaceIndex].Name, p.flags, p.comments))
	}
	want := []string{
		"a 1 dropped: bad-source, stage classify, from a",
		"full 2 dropped: ring-full, stage transmit, from a",
		"filtered 1 dropped: filter, stage filter, filter f, rule no-udp, from filtered",
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got %q, want %q", got, want)
	}
}

// refusing is a port whose ring is full.
type refusing struct{}

func (refusing) Caps() vswitch.Caps { return vswitch.Caps{} }
func (refusing) Transmit(frames []*vswitch.Frame) int {
	vswitch.RefuseAll(frames, vswitch.DropRingFull)
	return 0
}

// A reader that does not read loses frames, which are counted; what it gets is whole and in order;
// and the frames themselves arrive.
func TestSlowReadersLoseFrames(t *testing.T) {
	l := newLab(t, "a", "b")
	cfg := all("a")
	cfg.Buffer = capture.MinBuffer
	s := l.capture(cfg)
	s.out.holding.Lock()
	const frames = 3000
	for i := range frames {
		l.in["a"].Deliver(frame(udp(t, vswitchtest.Broadcast, macA, i, make([]byte, 1400))))
	}
	info := s.Info()
	if info.Lost == 0 || info.Lost > frames {
		t.Errorf("lost %d", info.Lost)
	}
	if n := l.counters("b").TxFrames.Load(); n != frames {
		t.Errorf("%d frames have arrived", n)
	}
	s.out.holding.Unlock()
	got := s.finish()
	if n := uint64(len(got.packets)); n+info.Lost != frames {
		t.Errorf("captured %d, lost %d, sent %d", n, info.Lost, frames)
	}
	for i, last := 0, -1; i < len(got.packets); i++ {
		p := got.packets[i]
		n := int(p.data[36])<<8 | int(p.data[37])
		if n <= last || !bytes.Equal(p.data, udp(t, vswitchtest.Broadcast, macA, n, make([]byte, 1400))) {
			t.Fatalf("packet %d is frame %d, or a part of it; the one before is %d", i, n, last)
		}
		last = n
	}
	if n := got.interfaces[0].Statistics; n.PacketsReceived != frames || n.PacketsDropped != info.Lost {
		t.Errorf("statistics %+v", n)
	}
}

func (l *lab) counters(port string) *vswitch.Counters {
	for _, p := range l.sw.Ports() {
		if p.Config.Name == port {
			return p.Config.Counters
		}
	}
	l.t.Fatalf("there is no port %s", port)
	return nil
}

// Ring space is given back: far more frames pass than the ring can hold.
func TestTheRingWrapsAround(t *testing.T) {
	l := newLab(t, "a", "b")
	cfg := all("a")
	cfg.Buffer = capture.MinBuffer
	s := l.capture(cfg)
	const frames = 2000
	for i := range frames {
		l.in["a"].Deliver(frame(udp(t, macB, macA, i, bytes.Repeat([]byte{byte(i)}, 100+i%1400))))
		if i%50 == 0 {
			eventually(t, func() bool { return s.Info().Captured == uint64(i+1) })
		}
	}
	got := s.finish()
	if len(got.packets) != frames {
		t.Fatalf("captured %d", len(got.packets))
	}
	for i, p := range got.packets {
		if !bytes.Equal(p.data, udp(t, macB, macA, i, bytes.Repeat([]byte{byte(i)}, 100+i%1400))) {
			t.Fatalf("packet %d differs", i)
		}
	}
}

// A capture ends by itself after a number of frames, or a time; and when its output fails.
func TestCapturesEnd(t *testing.T) {
	l := newLab(t, "a", "b")
	cfg := all("a")
	cfg.Count = 3
	s := l.capture(cfg)
	for range 5 {
		l.in["a"].Deliver(frame(udp(t, macB, macA, 1, nil)))
	}
	if n := len(s.end().packets); n != 3 {
		t.Errorf("captured %d", n)
	}
	cfg = all("a")
	cfg.Duration = 10 * time.Millisecond
	l.capture(cfg).end()

	c, err := l.pool.Open(all("a"))
	if err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken pipe")
	if err := c.Run(t.Context(), failing{broken}, func() error { return nil }); !errors.Is(err, broken) {
		t.Errorf("output that fails: %v", err)
	}
	if n := len(l.pool.List()); n != 0 {
		t.Errorf("%d captures are left", n)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// The number of captures, and their memory, are bounded, and given back.
func TestCapturesAreBounded(t *testing.T) {
	l := newLab(t, "a")
	var list []*session
	for range capture.MaxCaptures {
		cfg := all("a")
		cfg.Buffer = capture.MinBuffer
		list = append(list, l.capture(cfg))
	}
	if _, err := l.pool.Open(all("a")); !errors.Is(err, capture.ErrTooMany) {
		t.Errorf("one more: %v", err)
	}
	if n := len(l.pool.List()); n != capture.MaxCaptures {
		t.Errorf("%d are listed", n)
	}
	for _, s := range list {
		if _, err := l.pool.Stop(s.ID()); err != nil {
			t.Error(err)
		}
		s.end()
	}
	if _, err := l.pool.Stop(list[0].ID()); !errors.Is(err, capture.ErrNoCapture) {
		t.Errorf("one that has ended: %v", err)
	}
	big := all("a")
	big.Buffer = capture.MaxBuffer
	s := l.capture(big)
	if _, err := l.pool.Open(big); !errors.Is(err, capture.ErrNoMemory) {
		t.Errorf("too much memory: %v", err)
	}
	s.finish()
	l.capture(big).finish()
	for what, change := range map[string]func(*capture.Config){
		"snaplen": func(c *capture.Config) { c.Snaplen = 13 },
		"buffer":  func(c *capture.Config) { c.Buffer = capture.MaxBuffer + 1 },
		"ports":   func(c *capture.Config) { c.Ports = nil },
	} {
		cfg := all("a")
		change(&cfg)
		if _, err := l.pool.Open(cfg); err == nil {
			t.Errorf("%s is not checked", what)
		}
	}
}

// Workers that capture at the same time spoil nothing.
func TestWorkersCaptureTogether(t *testing.T) {
	l := newLab(t, "a", "b", "c", "d")
	cfg := all("a", "b", "c", "d")
	s := l.capture(cfg)
	const each = 2000
	done := make(chan bool)
	for n, name := range []string{"a", "b", "c", "d"} {
		go func() {
			for i := range each {
				l.in[name].Deliver(frame(udp(t, macB, vswitchtest.Station(10+n), i, bytes.Repeat([]byte{byte(i), byte(n)}, i%300))))
			}
			done <- true
		}()
	}
	for range 4 {
		<-done
	}
	lost := s.Info().Lost
	next := make(map[int]int)
	got := s.finish()
	for _, p := range got.packets {
		if p.flags != 1 {
			continue
		}
		n := p.info.InterfaceIndex
		i := int(p.data[36])<<8 | int(p.data[37])
		if i < next[n] {
			t.Fatalf("frame %d of port %d comes after %d", i, n, next[n])
		}
		next[n] = i + 1
		if !bytes.Equal(p.data, udp(t, macB, vswitchtest.Station(10+n), i, bytes.Repeat([]byte{byte(i), byte(n)}, i%300))) {
			t.Fatalf("frame %d of port %d differs", i, n)
		}
	}
	if want := uint64(16 * each); uint64(len(got.packets))+lost != want {
		t.Errorf("captured %d, lost %d, want %d", len(got.packets), lost, want)
	}
}

// Capturing frames does not allocate on the data path.
func TestCapturingDoesNotAllocate(t *testing.T) {
	l := newLab(t, "a", "b")
	filter, err := capture.NewFilter(udpPort(9))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []*capture.Filter{nil, filter} {
		cfg := all("a", "b")
		cfg.Filter = f
		s := l.capture(cfg)
		s.out.holding.Lock() // the reader, which may allocate, waits
		l.in["a"].Deliver(frame(udp(t, macB, macA, 9, make([]byte, 400))))
		eventually(t, func() bool { return s.out.waiting.Load() > 0 })
		pristine := make([]vswitch.Frame, vswitch.MaxBatch)
		for i := range pristine {
			pristine[i] = vswitchtest.Frame(udp(t, macB, macA, 8+i%2, make([]byte, 10*i)))
		}
		frames := make([]vswitch.Frame, len(pristine))
		n := testing.AllocsPerRun(100, func() {
			copy(frames, pristine)
			l.in["a"].Deliver(frames)
		})
		if n != 0 {
			t.Errorf("%v allocations in each Deliver", n)
		}
		s.out.holding.Unlock()
		s.finish()
	}
}
