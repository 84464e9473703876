package vswitch

import "encoding/binary"

// Offload repair: what a frame's sender left to be done, and the frame's
// destination does not do, is done here, on the way out.
//
// The same frames may go to many ports, and each port takes something else. So
// repair leaves a frame as it was: a checksum is filled in before the port's
// Transmit and taken out after it, and segments are frames of their own, whose
// heads are private and whose bodies are slices of the original. The payload is
// read to be summed up, and copied by nobody but the port.
//
// Locking: none. A repairer belongs to one Inlet and is used by whoever is
// inside that Inlet's Deliver.

// A repairer hands frames to ports and does in software what a port does not
// take.
type repairer struct {
	work *workbench // nil until a frame needs repair: for most inlets, none ever does
}

func newRepairer() *repairer { return &repairer{} }

// losses are frames that a transmit did not send. Bit i is the i-th frame of those that it was
// given, of which there are at most MaxBatch.
type losses struct {
	tooBig  uint64 // DropTooBig
	bad     uint64 // DropBadOffload
	untaken uint64 // countedByPort: among these are what the port did not take
}

// transmit hands frames to p, in order, each in a form that p takes, in batches of at most
// MaxBatch. The frames' offloads have passed checkOffload. A frame that would have to be longer
// than p's MTU is dropped. When transmit returns, frames are as they were.
func (r *repairer) transmit(p Port, frames []*Frame) (lost losses) {
	caps := p.Caps()
	for i, f := range frames {
		if !asIs(f, &caps) {
			if r.work == nil {
				r.work = new(workbench)
			}
			return r.work.transmit(p, &caps, frames, i)
		}
	}
	if len(frames) > 0 && p.Transmit(frames) < len(frames) {
		lost.untaken = 1<<len(frames) - 1
	}
	return lost
}

// asIs reports whether f needs no work for a port with these caps. It may say
// no where a closer look, by workbench.put, says yes.
func asIs(f *Frame, caps *Caps) bool {
	if caps.MTU != 0 && f.Len > etherLen+caps.MTU {
		return false
	}
	return f.Offload.GSOType == GSONone && (f.Offload.Flags == 0 || caps.Csum)
}

// maxUSOSegments is how many segments a GSOUDPL4 frame may fall into for a port that
// takes such frames: Linux, as a guest and as the host, drops one with more
// (UDP_MAX_SEGMENTS in virtio_net_hdr_to_skb). Windows makes them.
const maxUSOSegments = 128

// takesGSO reports whether a port with these caps takes f, a GSO frame, whole.
func takesGSO(f *Frame, g *gso, caps *Caps) bool {
	maxGS := caps.MaxGS
	if maxGS == 0 {
		maxGS = MaxFrameLen
	}
	if !caps.Csum || f.Len > maxGS || g.encap {
		return false
	}
	switch f.Offload.GSOType {
	case GSOTCPv4:
		return caps.TSO4
	case GSOTCPv6:
		return caps.TSO6
	case GSOTCPv4 | GSOECN:
		return caps.TSO4 && caps.ECN
	case GSOTCPv6 | GSOECN:
		return caps.TSO6 && caps.ECN
	case GSOUDP:
		return caps.UFO
	case GSOUDPL4:
		takes := caps.USO4
		if g.v6 {
			takes = caps.USO6
		}
		return takes && f.Len-g.end <= maxUSOSegments*g.size
	}
	return false
}

// segmentRoom is the size of a segment's Frame.Room, in bytes: the headers that
// checkOffload lets pass, two tags pushed since, and a fragment header.
const segmentRoom = Headroom + HeadMax + 2*tagLen + fragmentLen

// A workbench is the memory that repairing takes. It is used again for each
// batch, so that only the first ones allocate.
type workbench struct {
	port  Port
	batch []*Frame // what goes into the next Transmit; at most MaxBatch
	from  uint64   // the frames that the batch consists of, or segments of; see losses
	now   uint64   // the frame that is being put into the batch
	lost  losses

	edits    [MaxBatch]edit // what to undo in frames of the batch
	numEdits int

	segments    [MaxBatch]Frame // frames of the batch that are segments
	rooms       [MaxBatch][segmentRoom]byte
	numSegments int
	pieces      [][]byte // what the segments' bodies consist of

	headers [segmentRoom]byte // of the frame being cut
	batches [MaxBatch]*Frame
}

// An edit is what a frame was like before it was changed for one destination.
type edit struct {
	frame   *Frame
	offload Offload
	csum    []byte // the checksum field, if that was filled in; else nil
	old     [2]byte
}

// transmit does what repairer.transmit does, knowing that the first n frames
// need no work.
func (w *workbench) transmit(p Port, caps *Caps, frames []*Frame, n int) losses {
	w.port = p
	w.batch = w.batches[:0]
	w.numEdits, w.numSegments = 0, 0 // a Transmit that panicked may have left some
	w.from, w.lost = 0, losses{}
	for i, f := range frames {
		w.now = 1 << i
		if i < n || asIs(f, caps) {
			w.emit(f)
			continue
		}
		switch w.put(f, caps) {
		case putTooBig:
			w.lost.tooBig |= w.now
		case putBad:
			w.lost.bad |= w.now
		}
	}
	w.flush()
	w.port = nil
	return w.lost
}

type putResult uint8

const (
	putDone putResult = iota
	putTooBig
	putBad // f.Offload has not been checked
)

// put emits f in the form that a port with these caps takes.
func (w *workbench) put(f *Frame, caps *Caps) putResult {
	if f.Offload.GSOType != GSONone {
		g, ok := parseGSO(f)
		if !ok || g.end > HeadMax+2*tagLen {
			return putBad
		}
		if caps.MTU != 0 && g.l3Max > caps.MTU {
			return putTooBig
		}
		if takesGSO(f, &g, caps) {
			w.emit(f)
		} else {
			w.segment(f, &g)
		}
		return putDone
	}
	if caps.MTU != 0 && f.Len > etherLen+caps.MTU {
		if l3, _ := network(f.Head); f.Len > l3+caps.MTU {
			return putTooBig
		}
	}
	switch {
	case caps.Csum || f.Offload.Flags == 0:
		w.emit(f)
	case f.Offload.Flags&HdrNeedsCsum == 0:
		w.strip(f, nil) // HdrDataValid is not for a port that knows no checksums
		w.emit(f)
	default:
		return w.complete(f)
	}
	return putDone
}

// complete fills in f's checksum, as "a ones' complement checksum from
// csum_start to the end of the packet" (virtio 1.2, section 5.1.6.2).
func (w *workbench) complete(f *Frame) putResult {
	start := int(f.Offload.CsumStart)
	field := start + int(f.Offload.CsumOffset)
	if field+2 > len(f.Head) {
		return putBad
	}
	var c checksum
	c.add(f.Head[start:])
	c.addAll(f.Body)
	csum := f.Head[field : field+2]
	w.strip(f, csum)
	// Not 0, whatever the protocol: Linux's skb_checksum_help does so too.
	binary.BigEndian.PutUint16(csum, c.fieldOrOnes())
	w.emit(f)
	return putDone
}

// strip takes f's Offload away, and makes a note of that and of the checksum
// field, which the caller may then change. f must go into the batch next.
func (w *workbench) strip(f *Frame, csum []byte) {
	e := &w.edits[w.numEdits]
	w.numEdits++
	e.frame, e.offload, e.csum = f, f.Offload, csum
	copy(e.old[:], csum)
	f.Offload = Offload{}
}

// emit puts f into the batch.
func (w *workbench) emit(f *Frame) {
	w.batch = append(w.batch, f)
	w.from |= w.now
	if len(w.batch) == MaxBatch {
		w.flush()
	}
}

// flush transmits the batch, takes back what was done to its frames, and makes
// the workbench empty.
func (w *workbench) flush() {
	if len(w.batch) > 0 && w.port.Transmit(w.batch) < len(w.batch) {
		w.lost.untaken |= w.from
	}
	w.from = 0
	for i := w.numEdits - 1; i >= 0; i-- {
		e := &w.edits[i]
		e.frame.Offload = e.offload
		copy(e.csum, e.old[:])
		*e = edit{}
	}
	for i := range w.segments[:w.numSegments] {
		w.segments[i].Body = nil
	}
	// The pieces point into memory that may be unmapped when we return.
	clear(w.pieces)
	w.pieces = w.pieces[:0]
	clear(w.batch)
	w.batch = w.batch[:0]
	w.numEdits, w.numSegments = 0, 0
}
