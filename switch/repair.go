package vswitch

import "encoding/binary"

// Offload repair: work that a frame's sender has left to later devices, and that the frame's
// destination does not accept, is done here, before Transmit.
//
// The same frames may go to many ports, and each port accepts other offloads. So repair leaves a
// frame as it was: a checksum is filled in before the port's Transmit and removed after it, and
// segments are separate frames, whose heads are copies and whose bodies are slices of the original.
// The payload is read for checksums; only the port copies it.
//
// Locking: none. A repairer belongs to one Inlet and is used by the goroutine that is inside that
// Inlet's Deliver.

// A repairer passes frames to ports and does in software what a port does not accept.
type repairer struct {
	work *workbench // nil until a frame needs repair: for most inlets, no frame ever does
	lost losses
}

// losses are the frames that transmit did not send, or not wholly, by stage and reason.
type losses []loss

// A loss is frames that transmit did not send for one reason.
type loss struct {
	at   stage // stageTransmit: the port has refused them
	why  DropReason
	nths uint64 // bit i: the i-th frame that transmit was given; there are at most MaxBatch
	n    int    // the number of frames and of segments
}

// add adds a frame, or a segment of it.
func (l *losses) add(at stage, why DropReason, nth uint64) {
	for i := range *l {
		if e := &(*l)[i]; e.at == at && e.why == why {
			e.nths |= nth
			e.n++
			return
		}
	}
	*l = append(*l, loss{at, why, nth, 1})
}

// transmit passes frames to p, in order, each in a form that p accepts, in batches of at most
// MaxBatch. The frames' offloads have passed checkOffload. A frame is dropped if it, or a segment
// of it, would be longer than p's MTU. When transmit returns, the frames are as they were. The
// result is valid until the next call.
func (r *repairer) transmit(p Port, frames []*Frame) losses {
	r.lost = r.lost[:0]
	caps := p.Caps()
	for i, f := range frames {
		if !asIs(f, &caps) {
			if r.work == nil {
				r.work = new(workbench)
			}
			r.work.transmit(p, &caps, frames, i, &r.lost)
			return r.lost
		}
	}
	if len(frames) > 0 && p.Transmit(frames) < len(frames) {
		for i, f := range frames {
			if why, ok := f.Refusal(); ok {
				r.lost.add(stageTransmit, why, 1<<i)
			}
		}
	}
	return r.lost
}

// asIs reports whether f certainly needs no work for a port with these caps. For some frames that
// need none it returns false; workbench.put checks more closely.
func asIs(f *Frame, caps *Caps) bool {
	if caps.MTU != 0 && f.Len > etherLen+caps.MTU {
		return false
	}
	return f.Offload.GSOType == GSONone && (f.Offload.Flags == 0 || caps.Csum)
}

// maxUSOSegments is the most segments of a GSOUDPL4 frame that goes whole to a port that accepts
// such frames: Linux, as a guest and as the host, drops a frame with more (UDP_MAX_SEGMENTS in
// virtio_net_hdr_to_skb). Windows sends such frames.
const maxUSOSegments = 128

// takesGSO reports whether a port with these caps accepts f, a GSO frame, whole.
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

// segmentRoom is the size of a segment's Frame.Room, in bytes: the headers that checkOffload
// accepts, two tags that were pushed later, and a fragment header.
const segmentRoom = Headroom + HeadMax + 2*tagLen + fragmentLen

// A workbench is the memory that repair needs. It is reused for each batch, so that only the first
// batches allocate.
type workbench struct {
	port  Port
	batch []*Frame // the frames of the next Transmit; at most MaxBatch
	now   uint8    // which frame emit's frames are made from; see loss.nths
	lost  *losses

	edits    [MaxBatch]edit // changes to be undone in frames of the batch
	numEdits int

	segments    [MaxBatch]Frame // frames of the batch that are segments
	rooms       [MaxBatch][segmentRoom]byte
	numSegments int
	pieces      [][]byte // the pieces of the segments' bodies

	headers [segmentRoom]byte // of the frame being cut
	batches [MaxBatch]*Frame
	origins [MaxBatch]uint8 // which frame each frame of the batch was made from
}

// An edit is the state of a frame before it was changed for one destination.
type edit struct {
	frame   *Frame
	offload Offload
	csum    []byte // the checksum field, if it was filled in; else nil
	old     [2]byte
}

// transmit is repairer.transmit; the first n frames are known to need no work.
func (w *workbench) transmit(p Port, caps *Caps, frames []*Frame, n int, lost *losses) {
	w.port, w.lost = p, lost
	w.batch = w.batches[:0]
	w.numEdits, w.numSegments = 0, 0 // a Transmit that panicked may have left some
	for i, f := range frames {
		w.now = uint8(i)
		if i < n || asIs(f, caps) {
			w.emit(f)
			continue
		}
		switch w.put(f, caps) {
		case putTooBig:
			w.lost.add(stageRepair, DropTooBig, 1<<i)
		case putBad:
			w.lost.add(stageRepair, DropBadOffload, 1<<i)
		}
	}
	w.flush()
	w.port = nil
}

type putResult uint8

const (
	putDone putResult = iota
	putTooBig
	putBad // f.Offload has not been checked
)

// put emits f in the form that a port with these caps accepts.
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
		w.strip(f, nil) // a port without Csum accepts no HdrDataValid either
		w.emit(f)
	default:
		return w.complete(f)
	}
	return putDone
}

// complete fills in f's checksum, as "a ones' complement checksum from csum_start to the end of the
// packet" (virtio 1.2, section 5.1.6.2).
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
	// Not 0, whatever the protocol, as in Linux's skb_checksum_help.
	binary.BigEndian.PutUint16(csum, c.fieldOrOnes())
	w.emit(f)
	return putDone
}

// strip clears f.Offload, and saves it together with the checksum field, which the caller may then
// change. The caller emits f next.
func (w *workbench) strip(f *Frame, csum []byte) {
	e := &w.edits[w.numEdits]
	w.numEdits++
	e.frame, e.offload, e.csum = f, f.Offload, csum
	copy(e.old[:], csum)
	f.Offload = Offload{}
}

// emit appends f to the batch.
func (w *workbench) emit(f *Frame) {
	w.origins[len(w.batch)] = w.now
	w.batch = append(w.batch, f)
	if len(w.batch) == MaxBatch {
		w.flush()
	}
}

// flush transmits the batch, undoes the changes to its frames, and empties the workbench.
func (w *workbench) flush() {
	if len(w.batch) > 0 && w.port.Transmit(w.batch) < len(w.batch) {
		for i, f := range w.batch {
			if why, ok := f.Refusal(); ok {
				w.lost.add(stageTransmit, why, 1<<w.origins[i])
			}
		}
	}
	for i := w.numEdits - 1; i >= 0; i-- {
		e := &w.edits[i]
		e.frame.Offload = e.offload
		copy(e.csum, e.old[:])
		*e = edit{}
	}
	for i := range w.segments[:w.numSegments] {
		w.segments[i].Body = nil
	}
	// The pieces point into memory that may be unmapped after Deliver.
	clear(w.pieces)
	w.pieces = w.pieces[:0]
	clear(w.batch)
	w.batch = w.batch[:0]
	w.numEdits, w.numSegments = 0, 0
}
