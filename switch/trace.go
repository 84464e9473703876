package vswitch

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// Traces: what would happen to a frame. The frame is delivered to a shadow of the switch
// (trace_shadow.go); this file reads there what has happened, and puts that into words.

// A Trace is what would happen to a frame.
type Trace struct {
	Steps []TraceStep // in the order of the pipeline, destinations one after the other
}

// A TraceStep is what a stage of the pipeline, or a rule of a filter, does with the frame.
type TraceStep struct {
	Stage  string
	Port   string // whose settings decide
	Result TraceResult
	Detail string // in words; may be empty
	Reason string // TraceDrop: the name of a DropReason
	Filter string // of a rule, and its name
	Rule   string
	Frames []TraceFrame // TraceSend, TraceCopy and TraceReply: what the port is sent
}

// A TraceResult is the result of a step.
type TraceResult string

// Values of TraceResult.
const (
	TracePass  TraceResult = "pass"
	TraceDrop  TraceResult = "drop"  // the frame, or the part of it that goes to Port
	TraceCount TraceResult = "count" // a rule that only counts
	TraceSend  TraceResult = "send"  // Port is sent the frame, in the form that it takes
	TraceCopy  TraceResult = "copy"  // Port is sent a copy by a mirror
	TraceReply TraceResult = "reply" // the switch answers the frame itself
)

// A TraceFrame is a frame as a port is sent it.
type TraceFrame struct {
	Bytes   []byte
	Offload Offload
}

// Trace returns what would happen to a frame that came from a port, by the code that forwards
// frames, without any effect: nothing is learned, counted, taken from a rate, or sent. f is as a
// driver delivers it, and is not changed.
//
// What a port itself would do with the frame is not known: whether it has room, and whether its
// guest's receive filter accepts the frame. Learning is left out if the FDB has more than 100,000
// entries or so, because it is copied.
func (s *Switch) Trace(port string, f Frame) (*Trace, error) {
	t := &tracer{ports: make(map[string]*[]TraceFrame)}
	sh, err := s.shadowOf(port, t)
	if err != nil {
		return nil, err
	}
	var room [Headroom + HeadMax]byte
	frames := []Frame{f}
	n := copy(room[Headroom:], f.Head)
	frames[0].Room, frames[0].Head = room[:], room[Headroom:Headroom+n]
	t.original = bytes.Join(append([][]byte{f.Head}, f.Body...), nil)
	t.offload = f.Offload
	sh.in.Deliver(frames)
	return &Trace{sh.explain(&frames[0])}, nil
}

// A tracer notes what leaves the ports of a shadow, and what is dropped there.
type tracer struct {
	original []byte
	offload  Offload
	ports    map[string]*[]TraceFrame // of each port: what its Transmit has got since the last event
	events   []TraceStep
	drops    []TraceStep
}

// A tracePort is a port of a shadow: it accepts all frames.
type tracePort struct {
	t    *tracer
	name string
	caps Caps
}

// Caps implements Port.
func (p *tracePort) Caps() Caps { return p.caps }

// Transmit implements Port.
func (p *tracePort) Transmit(frames []*Frame) int {
	list := p.t.ports[p.name]
	if list == nil {
		list = new([]TraceFrame)
		p.t.ports[p.name] = list
	}
	for _, f := range frames {
		*list = append(*list, TraceFrame{Bytes: bytes.Join(append([][]byte{f.Head}, f.Body...), nil), Offload: f.Offload})
	}
	return len(frames)
}

// Show implements Tap. A port's Transmit has been called before.
func (t *tracer) Show(at Place, _ []*Frame, _ *[MaxFrameLen]byte) {
	step := TraceStep{Stage: stageTransmit.String(), Port: at.Port, Result: TraceSend}
	switch {
	case at.Drop != nil:
		t.drops = append(t.drops, TraceStep{
			Stage: at.Drop.Stage, Port: at.Port, Result: TraceDrop,
			Reason: at.Drop.Reason.String(), Filter: at.Drop.Filter, Rule: at.Drop.Rule,
		})
		return
	case at.Copy:
		step.Stage, step.Result = stageMirror.String(), TraceCopy
	case at.Reply:
		step.Stage, step.Result = stageNeigh.String(), TraceReply
	}
	if list := t.ports[at.Port]; list != nil {
		step.Frames, *list = *list, nil
	}
	if step.Result == TraceSend {
		step.Detail = t.rewritten(step.Frames)
	}
	t.events = append(t.events, step)
}

// dropped returns the drop by a stage at a port, or nil.
func (t *tracer) dropped(at stage, port string) *TraceStep {
	for i := range t.drops {
		if d := &t.drops[i]; d.Stage == at.String() && d.Port == port {
			return d
		}
	}
	return nil
}

// explain puts what has happened to the frame into steps.
func (sh *shadow) explain(f *Frame) []TraceStep {
	e := &explanation{shadow: sh, b: &sh.in.batch, f: f, port: sh.src.cfg.Name}
	if !e.arrive() {
		return e.steps
	}
	e.copies()
	e.learn()
	if e.lookup() && e.flooding() {
		e.leave()
	}
	e.copies()
	return e.steps
}

// An explanation is the steps of a frame, as they are being made.
type explanation struct {
	*shadow
	b     *batch
	f     *Frame
	port  string // the source
	steps []TraceStep
}

func (e *explanation) add(at stage, result TraceResult, format string, args ...any) {
	e.steps = append(e.steps, TraceStep{Stage: at.String(), Port: e.port, Result: result, Detail: fmt.Sprintf(format, args...)})
}

// lost adds the drop by a stage at the source port, and reports whether there is one.
func (e *explanation) lost(at stage) bool {
	d := e.trace.dropped(at, e.port)
	if d != nil {
		e.steps = append(e.steps, *d)
	}
	return d != nil
}

// arrive explains the stages before learning, and reports whether the frame passes them.
func (e *explanation) arrive() bool {
	if e.lost(stageAdmit) {
		return false
	}
	e.add(stageAdmit, TracePass, "the port is up")
	if e.lost(stageClassify) {
		return false
	}
	e.add(stageClassify, TracePass, "%s", e.f.verdict.words())
	if f := e.src.ingressFilter; f != nil && !e.rules(f, stageFilter, e.port) {
		return false
	}
	if e.src.guard != nil {
		if e.lost(stageGuard) {
			return false
		}
		e.add(stageGuard, TracePass, "the guards of the port allow the frame")
	}
	if e.src.policing != nil {
		if e.lost(stagePolice) {
			return false
		}
		e.add(stagePolice, TracePass, "within the rate that the port may send")
	}
	return true
}

// words describes the VLAN of a frame.
func (v *verdict) words() string {
	words := "in no VLAN"
	if v.vlan() != 0 {
		words = fmt.Sprintf("in VLAN %d", v.vlan())
	}
	if v.inner != 0 {
		words += fmt.Sprintf(", with a customer's tag of VLAN %d", v.cvlan())
	}
	if pcp := uint16(v.tag) >> pcpShift; pcp != 0 {
		words += fmt.Sprintf(", of priority %d", pcp)
	}
	return words
}

// rules adds the rules of a filter at a port that have matched, and reports whether the frame
// passes.
func (e *explanation) rules(f *filter, at stage, port string) (passes bool) {
	passes = true
	for i := range f.rules {
		r := &f.rules[i]
		if r.counters.Frames.Load() == 0 {
			continue
		}
		step := TraceStep{Stage: at.String(), Port: port, Filter: r.filter, Rule: r.name, Result: TracePass}
		switch r.action {
		case FilterCount:
			step.Result = TraceCount
		case FilterDrop:
			if passes = false; e.trace.dropped(at, port) != nil {
				step = *e.trace.dropped(at, port)
			}
		}
		e.steps = append(e.steps, step)
	}
	return passes
}

// copies adds the copies that mirrors have sent and that have not been added yet, until another
// event.
func (e *explanation) copies() {
	events := e.trace.events
	for len(events) > 0 && events[0].Result == TraceCopy {
		events[0].Detail = "a copy for the output of a mirror"
		e.steps, events = append(e.steps, events[0]), events[1:]
	}
	e.trace.events = events
	for _, d := range e.trace.drops {
		if len(events) == 0 && d.Stage == stageMirror.String() {
			e.steps = append(e.steps, d)
		}
	}
}

// learned says what the events of the FDB mean for the source address.
var learned = []struct {
	event FDBEvent
	words string
}{
	{FDBMoved, "the source address moves here from another port"},
	{FDBLearned, "the source address is learned"},
	{FDBStaticClaims, "the source address is static behind another port, and is not learned"},
	{FDBHeld, "the source address has moved too often, and stays behind another port"},
	{FDBLimited, "the source address is not learned: there are too many"},
	{FDBFull, "the source address is not learned: the FDB is full of static entries"},
}

func (e *explanation) learn() {
	switch {
	case !e.learns:
		e.add(stageLearn, TracePass, "not examined, because the FDB is large")
		return
	case !e.src.cfg.Learning:
		return
	}
	events := e.src.counters.FDB()
	for _, l := range learned {
		if events[l.event] > 0 {
			e.add(stageLearn, TracePass, "%s", l.words)
			return
		}
	}
	e.add(stageLearn, TracePass, "the source address is known here")
}

// lookup explains what is known of the destination, and reports whether the frame goes on.
func (e *explanation) lookup() bool {
	if e.lost(stageLookup) {
		return false
	}
	dst := e.b.runs[0].dst
	switch {
	case dst == addrBroadcast:
		e.add(stageLookup, TracePass, "broadcast")
	case dst&addrGroup != 0:
		e.add(stageLookup, TracePass, "multicast")
	case e.b.ngroups > 0:
		e.add(stageLookup, TracePass, "the destination is behind %s", e.b.groups[0].to.cfg.Name)
	default:
		e.add(stageLookup, TracePass, "the destination is not known")
	}
	return true
}

// flooding explains the stages for frames without a single destination, and reports whether the
// frame goes on.
func (e *explanation) flooding() bool {
	if e.b.ngroups > 0 {
		return true
	}
	if e.src.storm != nil {
		if e.lost(stageStorm) {
			return false
		}
		e.add(stageStorm, TracePass, "within the limits of flooded frames")
	}
	if e.b.snooped != 0 {
		e.add(stageSnoop, TracePass, "goes to members of the group and to multicast routers")
	} else if e.b.mcast != 0 && e.b.set.mcast.table != nil {
		e.add(stageSnoop, TracePass, "is flooded")
	}
	for len(e.trace.events) > 0 && e.trace.events[0].Result == TraceReply {
		e.trace.events[0].Detail = "answered for the owner of the address"
		e.steps, e.trace.events = append(e.steps, e.trace.events[0]), e.trace.events[1:]
		e.copies()
	}
	if e.b.known != 0 {
		e.add(stageNeigh, TracePass, "not sent to ports with neigh_suppress")
	}
	return !e.lost(stageFlood)
}

// leave explains what happens on the way to each destination.
func (e *explanation) leave() {
	for _, v := range e.b.set.all {
		name := v.cfg.Name
		if f := v.egressFilter; f != nil && !e.rules(f, stageEgressFilter, name) {
			continue
		}
		for _, d := range e.trace.drops {
			if d.Port == name && slices.Contains([]string{stageSend.String(), stageRepair.String()}, d.Stage) {
				e.steps = append(e.steps, d)
			}
		}
		for len(e.trace.events) > 0 && e.trace.events[0].Result == TraceSend && e.trace.events[0].Port == name {
			e.steps, e.trace.events = append(e.steps, e.trace.events[0]), e.trace.events[1:]
			e.copies()
		}
	}
}

// rewritten describes the difference between the frame that came and what a port is sent.
func (t *tracer) rewritten(sent []TraceFrame) string {
	var list []string
	if len(sent) == 0 {
		return ""
	}
	first := sent[0].Bytes
	was, now := outerTag(t.original), outerTag(first)
	grown := len(first) - len(t.original)
	if len(sent) > 1 {
		grown = 0
		if (was == noTag) != (now == noTag) {
			grown = vlanTagLen
		}
	}
	switch {
	case was == now:
	case now == noTag || grown == -vlanTagLen:
		list = append(list, "the tag "+was.words()+" is removed")
	case was == noTag || grown == vlanTagLen:
		list = append(list, "gets the tag "+now.words())
	default:
		list = append(list, "the tag "+was.words()+" becomes "+now.words())
	}
	if t.offload.GSOType != GSONone && sent[0].Offload.GSOType == GSONone && len(sent) > 1 {
		list = append(list, fmt.Sprintf("is cut into %d packets", len(sent)))
	}
	if t.offload.Flags&HdrNeedsCsum != 0 && sent[0].Offload.Flags&HdrNeedsCsum == 0 {
		list = append(list, "the checksum is filled in")
	}
	if len(list) == 0 {
		return "unchanged"
	}
	return strings.Join(list, "; ")
}

// outerTag returns the first tag of a frame, or noTag.
func outerTag(b []byte) tag {
	if len(b) < macsLen+vlanTagLen {
		return noTag
	}
	etype := uint16(b[macsLen])<<8 | uint16(b[macsLen+1])
	if !isTag(etype) {
		return noTag
	}
	return makeTag(etype, uint16(b[macsLen+2])<<8|uint16(b[macsLen+3]))
}

// words describes a tag: its type, VLAN and priority.
func (t tag) words() string {
	kind := "802.1Q"
	if uint16(t>>16) == tpidDot1AD {
		kind = "802.1ad"
	}
	return fmt.Sprintf("%s VLAN %d priority %d", kind, t&tciVID, uint16(t)>>pcpShift)
}
