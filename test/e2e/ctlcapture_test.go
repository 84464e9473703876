//go:build e2e

package e2e

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"vswitchd/test/child"
	"vswitchd/test/swtest"
)

// ctl returns a command of vswitchctl.
func ctl(t *testing.T, s *swtest.Switch, args ...string) *exec.Cmd {
	t.Helper()
	program := filepath.Join(filepath.Dir(swtest.Program(t)), "vswitchctl")
	return exec.Command(program, append([]string{"--control", s.ControlSocket()}, args...)...)
}

// A liveCapture is a vswitchctl that captures, and whose standard output the test reads.
type liveCapture struct {
	process *child.Process
	out     io.Reader
	stderr  *bytes.Buffer
}

// startCapture starts vswitchctl, and returns when the capture runs.
func startCapture(t *testing.T, s *swtest.Switch, args ...string) *liveCapture {
	t.Helper()
	before := len(s.Captures(t))
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	c := &liveCapture{out: r, stderr: new(bytes.Buffer)}
	cmd := ctl(t, s, append([]string{"capture"}, args...)...)
	cmd.Stdout, cmd.Stderr = w, c.stderr
	if c.process, err = child.Start(cmd, nil); err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Cleanup(c.process.Kill)
	swtest.Until(t, "the capture runs", func() bool {
		select {
		case <-c.process.Exited():
			t.Fatalf("vswitchctl has exited: %s", c.stderr)
		default:
		}
		return len(s.Captures(t)) > before
	})
	return c
}

// interrupt ends the capture by two signals at once, as timeout(1) does, and returns the rest of
// its output and what it says.
func (c *liveCapture) interrupt(t *testing.T) (rest []byte, report string) {
	t.Helper()
	if err := c.process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = c.process.Signal(syscall.SIGINT) // it may have exited
	rest, err := io.ReadAll(c.out)
	if err != nil {
		t.Fatal(err)
	}
	if code := c.process.State().ExitCode(); code != 0 {
		t.Fatalf("vswitchctl has exited with %d: %s", code, c.stderr)
	}
	return rest, c.stderr.String()
}

// A captured is a frame in a capture.
type captured struct {
	Port     string
	Flags    uint32 // 1: from the port, 2: to it
	Comments string
	Frame    string // in hexadecimal digits
}

// parseCapture reads pcapng with gopacket.
func parseCapture(t *testing.T, file []byte) (list []captured, interfaces []pcapgo.NgInterface) {
	t.Helper()
	r, err := pcapgo.NewNgReader(bytes.NewReader(file), pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	for {
		data, info, options, err := r.ReadPacketDataWithOptions()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		n, err := r.Interface(info.InterfaceIndex)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, captured{n.Name, options.Flags.ToUint32(), strings.Join(options.Comments, "; "), hex.EncodeToString(data)})
	}
	for i := range r.NInterfaces() {
		n, err := r.Interface(i)
		if err != nil {
			t.Fatal(err)
		}
		interfaces = append(interfaces, n)
	}
	return list, interfaces
}

// datagram makes a frame of a UDP datagram, with a tag if vlan is not 0.
func datagram(t *testing.T, dst, src byte, vlan uint16, port int, payload string) []byte {
	t.Helper()
	mac := func(n byte) []byte {
		if n == 0xff {
			return layers.EthernetBroadcast
		}
		return []byte{0x52, 0x54, 0, 0, 0, n}
	}
	eth := &layers.Ethernet{SrcMAC: mac(src), DstMAC: mac(dst), EthernetType: layers.EthernetTypeIPv4}
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: []byte{10, 0, 0, src}, DstIP: []byte{10, 0, 0, dst}}
	udp := &layers.UDP{SrcPort: 1000, DstPort: layers.UDPPort(port)}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	list := []gopacket.SerializableLayer{eth}
	if vlan != 0 {
		eth.EthernetType = layers.EthernetTypeDot1Q
		list = append(list, &layers.Dot1Q{VLANIdentifier: vlan, Type: layers.EthernetTypeIPv4})
	}
	b := gopacket.NewSerializeBuffer()
	options := gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}
	if err := gopacket.SerializeLayers(b, options, append(list, ip, udp, gopacket.Payload(payload))...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// A tcpdump reads a capture live: it prints the bytes of each frame as soon as it reads the frame.
type tcpdump struct {
	mu     sync.Mutex
	frames []string
	done   chan error
}

func startTcpdump(t *testing.T, in io.Reader) *tcpdump {
	t.Helper()
	cmd := exec.Command("tcpdump", "-r", "-", "-n", "-l", "-xx", "-t")
	cmd.Stdin = in
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d := &tcpdump{done: make(chan error, 1)}
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			d.add(lines.Text())
		}
		d.done <- cmd.Wait()
	}()
	return d
}

func (d *tcpdump) add(line string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	_, digits, isHex := strings.Cut(line, ":  ")
	if !isHex || !strings.HasPrefix(line, "\t0x") {
		d.frames = append(d.frames, "")
		return
	}
	d.frames[len(d.frames)-1] += strings.ReplaceAll(strings.TrimSpace(digits), " ", "")
}

func (d *tcpdump) seen() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.frames)
}

// TestLiveCapture: tcpdump reads a capture while it runs, through a pipe; it sees what the stations
// have sent, byte by byte and in order, with the tags of each port, and nothing else than the
// filter selects.
func TestLiveCapture(t *testing.T) {
	s := swtest.Start(t, nil, `
[port.a]
tag = 10
[port.trunk]
[port.b]
tag = 10
`)
	a, trunk, b := connectRaw(t, s.Socket("a")), connectRaw(t, s.Socket("trunk")), connectRaw(t, s.Socket("b"))
	b.send(datagram(t, 0xff, 3, 0, 1, "b is here"))
	c := startCapture(t, s, "a,trunk", "udp port 53 or (vlan 10 and udp port 53)")
	var file bytes.Buffer
	dump := startTcpdump(t, io.TeeReader(c.out, &file))
	var want []captured
	expect := func(port string, flags uint32, frame []byte) {
		want = append(want, captured{Port: port, Flags: flags, Frame: hex.EncodeToString(frame)})
	}
	for i := range 100 {
		payload := strings.Repeat(fmt.Sprintf("%04d", i), 6+i*3)
		a.send(datagram(t, 0xff, 1, 0, 53, payload))
		expect("a", 1, datagram(t, 0xff, 1, 0, 53, payload))
		expect("trunk", 2, datagram(t, 0xff, 1, 10, 53, payload))
		a.send(datagram(t, 0xff, 1, 0, 54, payload))
		trunk.send(datagram(t, 3, 2, 10, 53, payload))
		expect("trunk", 1, datagram(t, 3, 2, 10, 53, payload))
		trunk.take()
		b.take()
	}
	swtest.Until(t, "tcpdump has read all frames while the capture runs", func() bool { return len(dump.seen()) == len(want) })
	if list := s.Captures(t); len(list) != 1 || list[0].Captured != uint64(len(want)) || list[0].Filter == "" {
		t.Errorf("captures %+v", list)
	}
	if err := c.process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := <-dump.done; err != nil {
		t.Error(err)
	}
	if code := c.process.State().ExitCode(); code != 0 || c.stderr.String() != fmt.Sprintf("%d frames captured, 0 lost\n", len(want)) {
		t.Errorf("vswitchctl has exited with %d: %s", code, c.stderr)
	}
	for i, frame := range dump.seen() {
		if frame != want[i].Frame {
			t.Fatalf("tcpdump reads frame %d as %s, want %s", i, frame, want[i].Frame)
		}
	}
	got, interfaces := parseCapture(t, file.Bytes())
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if len(interfaces) != 2 || interfaces[0].Statistics.PacketsReceived != 100 || interfaces[1].Statistics.PacketsReceived != 200 {
		t.Errorf("interfaces %+v", interfaces)
	}
}

// TestCaptureOfDrops: dropped frames are captured with the reason, the stage, the rule, and the
// direction, as they were at the port.
func TestCaptureOfDrops(t *testing.T) {
	s := swtest.Start(t, nil, `
[port.a]
ingress_filter = "f"
[port.b]
tag = 10
[port.c]
isolated = true
[port.d]
isolated = true
[filter.f]
default = "accept"
rules = [ { name = "no-dns", action = "drop", proto = "udp", dst_ports = 53 } ]
`)
	a, b, c, d := connectRaw(t, s.Socket("a")), connectRaw(t, s.Socket("b")), connectRaw(t, s.Socket("c")), connectRaw(t, s.Socket("d"))
	d.send(datagram(t, 0xff, 4, 0, 1, "d is here"))
	cap := startCapture(t, s, "--all", "--drops")
	dns := datagram(t, 0xff, 1, 0, 53, "query")
	bad := datagram(t, 0xff, 0xff, 0, 1, "from a group")
	tagged := datagram(t, 0xff, 2, 11, 1, "wrong VLAN")
	private := datagram(t, 4, 3, 0, 1, "private")
	a.send(dns)
	a.send(datagram(t, 0xff, 1, 0, 1, "passes"))
	a.send(bad)
	b.send(tagged)
	c.send(private)
	file, report := cap.interrupt(t)
	if report != "4 frames captured, 0 lost\n" {
		t.Errorf("vswitchctl says %q", report)
	}
	want := []captured{
		{"a", 1, "dropped: filter, stage filter, filter f, rule no-dns, from a", hex.EncodeToString(dns)},
		{"a", 1, "dropped: bad-source, stage classify, from a", hex.EncodeToString(bad)},
		{"b", 1, "dropped: vlan, stage classify, from b", hex.EncodeToString(tagged)},
		{"c", 1, "dropped: policy, stage lookup, from c", hex.EncodeToString(private)},
	}
	got, _ := parseCapture(t, file)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestSlowCaptureReader: a reader that does not read loses frames of its capture, which are
// counted; all frames reach their receiver meanwhile, and another capture has all of them.
func TestSlowCaptureReader(t *testing.T) {
	s := swtest.Start(t, nil, "[port.a]\n[port.b]\n")
	a, b := connectRaw(t, s.Socket("a")), connectRaw(t, s.Socket("b"))
	b.send(datagram(t, 0xff, 2, 0, 1, "b is here"))
	slow := startCapture(t, s, "a", "-B", "256KiB")
	dir := t.TempDir()
	quick := startCapture(t, s, "a", "-w", filepath.Join(dir, "quick.pcapng"))
	const frames = 2000
	received := 0
	for i := range frames {
		a.send(datagram(t, 2, 1, 0, i, strings.Repeat("x", 1400)))
		received += len(b.take())
	}
	if received != frames {
		t.Errorf("%d frames were received, %d sent", received, frames)
	}
	lost := s.Captures(t)[0].Lost
	if lost == 0 || lost > frames {
		t.Errorf("the slow reader has lost %d", lost)
	}
	file, report := slow.interrupt(t)
	got, interfaces := parseCapture(t, file)
	if want := fmt.Sprintf("%d frames captured %d lost\n", len(got), lost); strings.ReplaceAll(report, ",", "") != want {
		t.Errorf("vswitchctl says %q, want %q", report, want)
	}
	if n := interfaces[0].Statistics; len(got)+int(lost) != frames || n.PacketsDropped != lost || n.PacketsReceived != frames {
		t.Errorf("captured %d, lost %d, statistics %+v", len(got), lost, n)
	}
	if _, report := quick.interrupt(t); report != "2,000 frames captured, 0 lost\n" {
		t.Errorf("the quick capture says %q", report)
	}
	whole, err := os.ReadFile(filepath.Join(dir, "quick.pcapng"))
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := parseCapture(t, whole); len(got) != frames {
		t.Errorf("the quick capture has %d frames", len(got))
	}
}

// TestCapturesEndWithTheirClients: a client that is killed leaves no capture behind; captures are
// bounded; and those that run when vswitchd stops end in order.
func TestCapturesEndWithTheirClients(t *testing.T) {
	s := swtest.Start(t, nil, "[port.a]\n")
	a := connectRaw(t, s.Socket("a"))
	killed := startCapture(t, s, "a")
	killed.process.Kill()
	swtest.Until(t, "the capture has ended", func() bool { return len(s.Captures(t)) == 0 })
	var list []*liveCapture
	for range 8 {
		list = append(list, startCapture(t, s, "a"))
	}
	if out, err := ctl(t, s, "capture", "a", "-w", filepath.Join(t.TempDir(), "f")).CombinedOutput(); err == nil || !strings.Contains(string(out), "too many captures") {
		t.Errorf("one more: %v, %s", err, out)
	}
	a.send(datagram(t, 0xff, 1, 0, 1, "last"))
	s.Signal(t, syscall.SIGTERM)
	for _, c := range list {
		file, err := io.ReadAll(c.out)
		if err != nil {
			t.Fatal(err)
		}
		if code := c.process.State().ExitCode(); code != 0 || c.stderr.String() != "1 frame captured, 0 lost\n" {
			t.Errorf("vswitchctl has exited with %d: %s", code, c.stderr)
		}
		if got, _ := parseCapture(t, file); len(got) != 1 {
			t.Errorf("captured %+v", got)
		}
	}
	if code := s.Wait(); code != 0 {
		t.Errorf("vswitchd has exited with %d", code)
	}
}
