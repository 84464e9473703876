package capture_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/net/bpf"

	"vswitchd/internal/capture"
	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// What the VM cannot execute, and what is no program, is refused.
func TestBadProgramsAreRefused(t *testing.T) {
	ret := bpf.RawInstruction{Op: 6, K: 1}
	long := make([]bpf.RawInstruction, capture.MaxInstructions+1)
	for i := range long {
		long[i] = ret
	}
	for name, program := range map[string][]bpf.RawInstruction{
		"empty":               nil,
		"without end":         {{Op: 40, K: 12}},
		"unknown instruction": {{Op: 0xffff}, ret},
		"jump out":            {{Op: 21, Jt: 1, K: 1}, ret},
		"far jump":            {{Op: 5, K: 0xffffffff}, ret},
		"division by zero":    {{Op: 0x34}, ret},
		"negation":            {{Op: 0x84}, ret},
		"scratch":             {{Op: 0x60, K: 16}, ret},
		"extension of Linux":  {{Op: 40, K: 0xfffff000}, ret},
		"too long":            long,
	} {
		if _, err := capture.NewFilter(program); !errors.Is(err, capture.ErrBadFilter) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := capture.NewFilter(long[1:]); err != nil {
		t.Errorf("the longest program: %v", err)
	}
}

// A filter sees the frame with the tags that it has at the port, its whole length, and also what is
// not in Head.
func TestFiltersSeeTheWholeFrame(t *testing.T) {
	deep := func(at uint32) []bpf.RawInstruction { // the byte there is 'x'
		return []bpf.RawInstruction{{Op: 48, K: at}, {Op: 21, Jf: 1, K: 'x'}, {Op: 6, K: 1}, {Op: 6}}
	}
	index := func(x uint32) []bpf.RawInstruction { // likewise, through A and X
		return []bpf.RawInstruction{{K: x}, {Op: 7}, {Op: 80, K: 1}, {Op: 21, Jf: 1, K: 'x'}, {Op: 6, K: 1}, {Op: 6}}
	}
	longer := func(n uint32) []bpf.RawInstruction {
		return []bpf.RawInstruction{{Op: 0x80}, {Op: 0x35, Jf: 1, K: n}, {Op: 6, K: 1}, {Op: 6}}
	}
	payload := bytes.Repeat([]byte("."), 3000)
	payload[1000] = 'x'
	raw := udp(t, macB, macA, 9, payload)
	at := uint32(bytes.IndexByte(raw, 'x'))
	for _, tt := range []struct {
		name    string
		program []bpf.RawInstruction
		want    int
	}{
		{"port", udpPort(9), 1}, {"another port", udpPort(10), 0},
		{"deep", deep(at), 1}, {"deep, but elsewhere", deep(at + 1), 0}, {"behind the end", deep(uint32(len(raw))), 0},
		{"index", index(at - 1), 1}, {"index, but elsewhere", index(at), 0},
		{"length", longer(uint32(len(raw))), 1}, {"longer", longer(uint32(len(raw)) + 1), 0},
	} {
		filter, err := capture.NewFilter(tt.program)
		if err != nil {
			t.Fatal(err)
		}
		l := newLab(t, "a", "b")
		cfg := all("a")
		cfg.Filter = filter
		s := l.capture(cfg)
		l.in["a"].Deliver(frame(raw))
		if got := s.finish().packets; len(got) != tt.want {
			t.Errorf("%s: %d packets, want %d", tt.name, len(got), tt.want)
		}
	}
}

// compiled returns the programs in testdata/programs.txt by their expressions: each is what
// "tcpdump -ddd -y EN10MB" has written.
func compiled(t testing.TB) map[string][]bpf.RawInstruction {
	t.Helper()
	text, err := os.ReadFile("testdata/programs.txt")
	if err != nil {
		t.Fatal(err)
	}
	programs := make(map[string][]bpf.RawInstruction)
	for _, part := range strings.Split(strings.TrimPrefix(string(text), "# "), "\n# ") {
		lines := strings.Split(strings.TrimSpace(part), "\n")
		for _, line := range lines[2:] {
			var ins bpf.RawInstruction
			if _, err := fmt.Sscan(line, &ins.Op, &ins.Jt, &ins.Jf, &ins.K); err != nil {
				t.Fatal(err)
			}
			programs[lines[0]] = append(programs[lines[0]], ins)
		}
	}
	return programs
}

// Filters with tags select the frames of a trunk, whose tags the port gets, and not those of an
// access port.
func TestFiltersSeeTheTagsOfThePort(t *testing.T) {
	l := newLab(t)
	for name, mode := range map[string]vswitch.VLANMode{"access": vswitch.VLANAccess, "trunk": vswitch.VLANTrunk} {
		cfg := vswitch.DefaultPortConfig(name)
		if cfg.VLANMode = mode; mode == vswitch.VLANAccess {
			cfg.Tag = 10
		}
		a, err := l.sw.Attach(cfg, &vswitchtest.Sink{Counters: new(vswitch.Counters)})
		if err != nil {
			t.Fatal(err)
		}
		a.SetUp(true)
		l.in[name] = a.NewInlet()
	}
	programs := compiled(t)
	count := func(expression string) string {
		filter, err := capture.NewFilter(programs[expression])
		if err != nil {
			t.Fatal(err)
		}
		cfg := all("access", "trunk")
		cfg.Filter = filter
		s := l.capture(cfg)
		l.in["access"].Deliver(frame(udp(t, vswitchtest.Broadcast, macA, 53, make([]byte, 200))))
		n := map[string]int{}
		f := s.finish()
		for _, p := range f.packets {
			n[f.interfaces[p.info.InterfaceIndex].Name]++
		}
		return fmt.Sprint(n)
	}
	for expression, want := range map[string]string{
		"udp port 53":                      "map[access:1]",
		"vlan 10 and udp port 53":          "map[trunk:1]",
		"vlan 11":                          "map[]",
		"udp port 53 or (vlan and udp)":    "map[access:1 trunk:1]",
		"ether broadcast and greater 240":  "map[access:1 trunk:1]",
		"ether broadcast and greater 244":  "map[trunk:1]",
		"udp portrange 50-60 and not icmp": "map[access:1]",
	} {
		if got := count(expression); got != want {
			t.Errorf("%s: %s, want %s", expression, got, want)
		}
	}
}

// FuzzFilter: whatever a client sends as a program, it is refused, or runs to its end on any frame,
// with the same result wherever the frame's bytes are.
func FuzzFilter(f *testing.F) {
	add := func(program []bpf.RawInstruction, raw []byte) {
		var b []byte
		for _, ins := range program {
			b = binary.BigEndian.AppendUint16(b, ins.Op)
			b = append(b, ins.Jt, ins.Jf)
			b = binary.BigEndian.AppendUint32(b, ins.K)
		}
		f.Add(b, raw)
	}
	add(udpPort(9), udp(f, macB, macA, 9, make([]byte, 300)))
	add([]bpf.RawInstruction{{Op: 0x80}, {Op: 7}, {Op: 0x60, K: 3}, {Op: 0x50, K: 4}, {Op: 0x16}}, make([]byte, 200))
	add([]bpf.RawInstruction{{Op: 0xb1, K: 150}, {Op: 0x50, K: 0xffffffff}, {Op: 0x16}}, make([]byte, 200))
	l := newLab(f, "a", "b")
	f.Fuzz(func(t *testing.T, code, raw []byte) {
		var program []bpf.RawInstruction
		for ; len(code) >= 8; code = code[8:] {
			program = append(program, bpf.RawInstruction{
				Op: binary.BigEndian.Uint16(code), Jt: code[2], Jf: code[3], K: binary.BigEndian.Uint32(code[4:]),
			})
		}
		filter, err := capture.NewFilter(program)
		if err != nil || len(raw) < vswitch.MinFrameLen || len(raw) > 2000 {
			return
		}
		whole := vswitchtest.Frame(raw)
		whole.Head, whole.Body = raw, nil
		split := vswitchtest.Frame(raw)
		l.t = t
		cfg := all("a")
		cfg.Filter, cfg.Buffer = filter, capture.MinBuffer
		s := l.capture(cfg)
		one, two := make([]vswitch.Frame, 1), make([]vswitch.Frame, 1)
		one[0], two[0] = whole, split
		var scratch [vswitch.MaxFrameLen]byte
		at := vswitch.Place{Port: "a"}
		s.Show(at, []*vswitch.Frame{&one[0]}, &scratch)
		s.Show(at, []*vswitch.Frame{&two[0]}, &scratch)
		if n := len(s.finish().packets); n == 1 {
			t.Error("the program selects the frame or not, depending on where its bytes are")
		}
	})
}
