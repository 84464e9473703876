package vswitch_test

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cockroachdb/datadriven"

	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// Scenarios about loops: ports that are connected outside of the switch.

var (
	probeAddress  = vswitch.MAC{0x03, 0x76, 0x73, 0x70, 0x6c, 0x70} // the destination of probes
	switchAddress = vswitch.MAC{0xfe}                               // their source
)

// isProbe reports whether a frame is a probe of a switch with switchAddress.
func isProbe(b []byte) bool {
	return bytes.HasPrefix(b, slices.Concat(probeAddress[:], switchAddress[:]))
}

// enough is the number of looped frames after which a storm is one that does not end.
const enough = 20000

// A wire carries what is sent to one port to another.
type wire struct{ from, to string }

// carry carries frames along wires until there are none left, and returns how many these were,
// without probes, and how many probes. Frames to other ports are left where they are.
func (l *lab) carry(wires []wire) (looped, probes int) {
	var sources []string
	for _, w := range wires {
		sources = append(sources, w.from)
	}
	slices.Sort(sources)
	sources = slices.Compact(sources)
	for moved := true; moved && looped < enough; {
		moved = false
		for _, from := range sources {
			sent := l.ports[from].Take()
			moved = moved || len(sent) > 0
			for _, w := range wires {
				if w.from != from {
					continue
				}
				for chunk := range slices.Chunk(sent, vswitch.MaxBatch) {
					fs := make([]vswitch.Frame, len(chunk))
					for i, s := range chunk {
						fs[i] = vswitchtest.Frame(s.Bytes)
						if isProbe(s.Bytes) {
							probes++
						} else {
							looped++
						}
					}
					l.ports[w.to].in.Deliver(fs)
				}
			}
		}
	}
	return looped, probes
}

// setWires makes these the wires: of lines such as "A B C", each port hears the others, of "A > B",
// B hears A. What A is sent comes back with "A > A".
func (s *scenario) setWires(d *datadriven.TestData) (string, error) {
	s.wires = nil
	for _, words := range lines(d) {
		if len(words) == 3 && words[1] == ">" {
			s.wires = append(s.wires, wire{words[0], words[2]})
			continue
		}
		for _, a := range words {
			for _, b := range words {
				if a != b {
					s.wires = append(s.wires, wire{a, b})
				}
			}
		}
	}
	return "", nil
}

// storm delivers a batch, and carries frames along the wires until there are no more.
func (s *scenario) storm(d *datadriven.TestData) (string, error) {
	s.sent++
	var frames []vswitch.Frame
	for _, words := range lines(d) {
		for _, f := range s.parseFrames(words, len(frames)) {
			frames = append(frames, vswitchtest.Frame(f.bytes))
		}
	}
	s.port(args(d)[0]).in.Deliver(frames)
	looped, probes := s.carry(s.wires)
	s.discard()
	if looped >= enough {
		return "the storm does not end\n", nil
	}
	return fmt.Sprintf("%d looped frames, %d probes\n", looped, probes), nil
}

// discard forgets what ports were sent.
func (s *scenario) discard() {
	for _, p := range s.ports {
		p.Take()
	}
}

// passTime moves the clock second by second, and carries what the switch sends then.
func (s *scenario) passTime(d *datadriven.TestData) (string, error) {
	looped, probes := 0, 0
	for range must(time.ParseDuration(args(d)[0])) / time.Second {
		s.advance(time.Second)
		l, p := s.carry(s.wires)
		looped, probes = looped+l, probes+p
	}
	s.discard()
	return fmt.Sprintf("%d looped frames, %d probes\n", looped, probes), nil
}

// loopConfig reads the settings of loop detection among those of the switch.
func loopConfig(cfg *vswitch.LoopConfig, key, v string) bool {
	switch key {
	case "loop_detection":
		cfg.Detect = must(strconv.ParseBool(v))
	case "loop_block_time":
		cfg.BlockTime = must(time.ParseDuration(v))
	default:
		return false
	}
	return true
}

// loopDetection changes the settings of loop detection, as a reload does.
func (s *scenario) loopDetection(d *datadriven.TestData) (string, error) {
	var cfg vswitch.LoopConfig
	for _, w := range args(d) {
		key, v, _ := strings.Cut(w, "=")
		if !loopConfig(&cfg, key, v) {
			s.t.Fatalf("loop detection has no setting %q", key)
		}
	}
	_, err := s.s.Apply(&vswitch.Change{KeepStatic: true, Loop: &cfg})
	return "", err
}

// blocked lists the ports that are blocked.
func (s *scenario) blocked(*datadriven.TestData) (string, error) {
	var out strings.Builder
	for _, p := range s.s.Ports() {
		if b := p.Loop; b != nil {
			fmt.Fprintf(&out, "%s: because of %s in VLAN %d, for %v, %v more\n", p.Config.Name, b.Other, b.VLAN, b.Since, b.Until)
		}
	}
	if out.Len() == 0 {
		return "none\n", nil
	}
	return out.String(), nil
}

// loopLog lists what the log would have said since the last call.
func (s *scenario) loopLog(*datadriven.TestData) (string, error) {
	changes := map[vswitch.LoopChange]string{
		vswitch.LoopBlocked: "is blocked", vswitch.LoopRemains: "stays blocked", vswitch.LoopReleased: "is released", vswitch.LoopSeen: "has a loop",
	}
	var out strings.Builder
	for _, r := range s.s.LoopReports() {
		fmt.Fprintf(&out, "%s: %s, because of %s in VLAN %d", r.Port, changes[r.Change], r.Other, r.VLAN)
		if r.For > 0 {
			fmt.Fprintf(&out, ", for %v", r.For)
		}
		if r.Count > 0 {
			fmt.Fprintf(&out, ", %d probes", r.Count)
		}
		fmt.Fprintln(&out)
	}
	if out.Len() == 0 {
		return "nothing\n", nil
	}
	return out.String(), nil
}

func (s *scenario) loopCounts(*datadriven.TestData) (string, error) {
	return s.counts(func(p *labPort) map[string]uint64 { return p.counters.Loops() }), nil
}
