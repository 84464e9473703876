package vswitch

import "math/bits"

// Stage learn: the FDB learns behind which port source addresses are. No frames are dropped here: a
// frame whose source address is not learned is forwarded, too.

// learn updates the FDB with the source addresses of the batch.
func (in *Inlet) learn() {
	b, t := &in.batch, in.sw.fdb
	var fresh, moved, claims uint64 // frames
	last, how, newest := ^hash(0), seenHere, noKey
	for i := range b.runs[:b.nruns] {
		r := &b.runs[i]
		if r.srcHash != last {
			last, how = r.srcHash, t.seen(r.srcKey, r.srcHash, b.src.id, b.now)
		}
		switch {
		case how == seenHere:
			b.settled |= r.frames
		case how == seenNew:
			if in.isProbe(r) {
				continue
			}
			fresh |= r.frames
			newest = r.srcKey
		case how == seenElsewhere:
			moved |= r.frames
			in.noteClash(r)
		default:
			claims |= r.frames
			b.src.fdb.claimed.Store(uint64(r.srcKey))
			in.noteClash(r)
		}
	}
	in.count(FDBStaticClaims, claims)
	if fresh != 0 && !b.src.fdb.mayLearn(b.now) {
		in.count(FDBLimited, fresh)
		b.src.fdb.limited.Store(uint64(newest))
		fresh = 0
	}
	if fresh|moved != 0 {
		in.write(fresh | moved)
	}
}

// count counts an event for each frame in a set.
func (in *Inlet) count(e FDBEvent, frames uint64) {
	if n := uint64(bits.OnesCount64(frames)); n > 0 {
		in.batch.src.counters.fdb[e].Add(n)
		in.sw.fdb.stats[e].Add(n)
	}
}

// write adds or moves the entries of the source addresses of some runs' frames. If another
// goroutine holds the lock, write leaves that to a later frame from the same address.
func (in *Inlet) write(frames uint64) {
	b, t := &in.batch, in.sw.fdb
	if !t.mu.TryLock() {
		in.count(FDBContended, frames)
		return
	}
	last, why, refused := ^hash(0), numFDBEvents, false
	for i := range b.runs[:b.nruns] {
		r := &b.runs[i]
		if r.frames&frames == 0 {
			continue
		}
		if r.srcHash != last {
			last = r.srcHash
			why, refused = t.learn(r.srcKey, r.srcHash, b.src.fdb, b.now)
		}
		if refused {
			in.count(why, r.frames)
		}
	}
	t.mu.Unlock()
}
