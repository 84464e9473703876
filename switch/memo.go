package vswitch

import "math/bits"

// What an inlet remembers of its look-ups
// =======================================
//
// Most frames have the addresses of an earlier frame. For such a pair of addresses, an inlet
// remembers the port to which the FDB has led, and that the FDB had nothing to learn from the
// source. A frame that is remembered needs neither hashes nor the two look-ups, which are half of
// all the work for a frame when consecutive frames differ in their addresses.
//
// A memory is valid as long as nothing changes on which it depends: the FDB's entries and settings
// (fdb.changes), the port set (portSet.version), and the second of the FDB's clock, because a
// source's entry is refreshed, and a destination's age is checked, once a second. The inlet counts
// these changes as eras, and each memory holds for one era.
//
// Nothing is remembered of frames with tags, or to groups or unknown addresses, and nothing at all
// where a stage other than learn, lookup and send needs to see the frame's addresses (recalls).

// A memo is an inlet's memory. The zero value remembers nothing and is ready for use.
type memo struct {
	sets []memoSet // a power of two of them
	few  [fewSets]memoSet
	era  uint64

	// What the era depends on.
	changes uint64
	version uint64
	now     uint32

	resting  int // batches left that are not looked up here
	recalled int // frames since the memory was last judged
	stored   int // pairs since then
}

// A memoSet is where a pair may be remembered: in either entry.
type memoSet [2]memoEntry

// A memoEntry is a pair of addresses and what is remembered of it.
type memoEntry struct {
	begin uint64 // the first 8 bytes of the frame: destination, and 16 bits of the source
	rest  uint64 // the other 32 bits of the source, 19 bits of the era, the port's id
}

const (
	eraBits = 32 - portBits
	eraMask = 1<<eraBits - 1

	// An inlet has fewSets at first, and manySets (128 KiB) if these are not enough. A thousand
	// pairs then displace each other so rarely that 97 % of them are remembered.
	fewSets  = 16
	manySets = 4096

	// judgeAfter is the number of pairs, recalled or stored, after which the memory is judged.
	// For restBatches after that, a memory that has not been useful is left alone: the traffic has
	// more pairs than fit, or the FDB changes all the time.
	judgeAfter  = 2 * manySets
	restBatches = judgeAfter
)

// recalls reports whether frames from the source port may be treated as remembered, and begins a
// new era if something has changed.
func (in *Inlet) recalls() bool {
	b, m := &in.batch, &in.memo
	if b.src.checked || b.set.observed || b.set.neigh.table != nil {
		return false
	}
	if !m.useful() {
		return false
	}
	if m.changes != b.changes || m.version != b.set.version || m.now != b.now || m.sets == nil {
		m.changes, m.version, m.now = b.changes, b.set.version, b.now
		m.nextEra()
	}
	return true
}

// useful reports whether the memory is worth looking into for one more batch.
func (m *memo) useful() bool {
	if m.resting > 0 {
		m.resting--
		return false
	}
	if m.recalled+m.stored >= judgeAfter {
		m.judge()
	}
	return true
}

// nextEra forgets everything.
func (m *memo) nextEra() {
	if m.sets == nil {
		m.sets = m.few[:]
	}
	if m.era++; m.era&eraMask == 0 { // entries of the distant past would be taken for new ones
		clear(m.sets)
		m.era++ // era 0 is that of empty entries
	}
}

// judge decides, by what has happened since the last call, whether the memory needs more room, or
// is of no use for a while.
func (m *memo) judge() {
	switch {
	case len(m.sets) == fewSets && m.stored > m.recalled/8:
		m.sets = make([]memoSet, manySets)
	case m.stored > m.recalled:
		m.resting = restBatches
	}
	m.recalled, m.stored = 0, 0
}

// sameAgain stands for a frame that begins like the one before, and is not too long. It is not the
// id of a port.
const sameAgain = portID(maxPorts)

// recall sets ports to the ports that frames go to, as far as on is true and that is remembered. Of
// consecutive frames that begin the same, this is so for the first one; the others are sameAgain.
// For all other frames ports is 0.
//
// The loop is short, so that the processor fetches the sets of many frames at once.
func (m *memo) recall(on bool, frames []Frame, ports *[MaxBatch]portID) {
	sets, era := m.sets, m.era&eraMask<<portBits
	if !on {
		sets = nil
	}
	last := beginNone
	for i := range frames {
		f, id := &frames[i], portID(0)
		if len(f.Head) < MinFrameLen || f.Len > MaxFrameLen {
			ports[i&(MaxBatch-1)], last = 0, beginNone
			continue
		}
		begin := beginningOf(f.Head)
		if begin == last {
			ports[i&(MaxBatch-1)] = sameAgain
			continue
		}
		last = begin
		src := begin[1] >> 16
		if n := setOf(begin[0], src) & uint64(len(sets)-1); n < uint64(len(sets)) {
			s, rest := &sets[n], src<<32|era
			if x := s[0].rest ^ rest; s[0].begin^begin[0]|x>>portBits == 0 {
				id = portID(x)
			}
			if x := s[1].rest ^ rest; s[1].begin^begin[0]|x>>portBits == 0 {
				id = portID(x)
			}
		}
		if isTag(begin.etype()) {
			id = 0
		}
		if id != 0 {
			m.recalled++
		}
		ports[i&(MaxBatch-1)] = id
	}
}

// setOf returns the number of the set of a pair of addresses. The upper bits are to be masked.
func setOf(begin, src uint64) uint64 {
	h := begin*0x9e3779b97f4a7c15 + src*0xc2b2ae3d27d4eb4f
	return (h ^ h>>32) * 0x9e3779b97f4a7c15 >> 32
}

// store remembers that frames without a tag, from src to dst, go to a port.
func (m *memo) store(dst, src addr, id portID) {
	begin := uint64(dst)<<16 | uint64(src)>>32
	s := &m.sets[setOf(begin, uint64(src))&uint64(len(m.sets)-1)]
	rest := uint64(src)<<32 | m.era&eraMask<<portBits
	e := &s[m.stored&1]
	for i := range s {
		if (s[i].rest^rest)>>portBits&eraMask != 0 { // of an earlier era
			e = &s[i]
			break
		}
	}
	e.begin, e.rest = begin, rest|uint64(id)
	m.stored++
}

// reconsider looks up all frames that are remembered, because the FDB has changed since.
func (in *Inlet) reconsider(frames []Frame) {
	b := &in.batch
	var again uint64
	for i := range b.groups[:b.ngroups] {
		again |= b.groups[i].frames
		b.groupOf[b.groups[i].to.id] = 0
	}
	b.ngroups, b.recalls = 0, false
	for ; again != 0; again &= again - 1 {
		i := bits.TrailingZeros64(again)
		begin, vlan := beginningOf(frames[i].Head), b.bare.vlan()
		r := &b.runs[b.nruns]
		b.nruns++
		r.frames, r.first, r.dst, r.srcKey = 1<<i, i, begin.dst(), makeKey(begin.src(), vlan)
		t := in.sw.fdb
		r.srcHash, r.dstHash = t.perm.hash(r.srcKey), t.perm.hash(makeKey(r.dst, vlan))
	}
}
