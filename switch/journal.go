package vswitch

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// A RecordKind is what a Record is about.
type RecordKind uint8

// Kinds of records. In those of the FDB, MAC, VLAN, All and Type describe the entry; in those of
// multicast groups, Group, Source and VLAN the membership.
const (
	RecordLearned RecordKind = iota // an entry was made from a source address
	RecordMoved                     // a learned entry moved to Port, from Other
	RecordExpired                   // an entry was removed because of its age
	RecordEvicted                   // an entry was removed to make room for another
	RecordAdded                     // an entry was added, or changed, that no frame has caused; it replaces the one before
	RecordRemoved                   // an entry was removed by hand, by a change of the configuration, or for another entry
	RecordFlushed                   // Count entries of Port were removed together, because of Cause

	RecordJoined        // a station behind Port has joined a group
	RecordLeft          // the last one has left
	RecordMemberExpired // a membership was removed because no report has renewed it
	RecordMemberAdded   // a static membership was added
	RecordMemberRemoved // a static membership was removed
	RecordMemberFlushed // Count memberships of Port were removed together

	RecordPort // a port came up or went down, was blocked or is no longer blocked
)

// A FlushCause is why entries of a port were removed together.
type FlushCause uint8

// Causes.
const (
	FlushByHand      FlushCause = iota // Switch.Flush
	FlushPortDown                      // the port passes no frames any more
	FlushDetached                      // the port was detached
	FlushVLANs                         // the port no longer carries their VLANs
	FlushLoop                          // they may have been learned from frames in a loop
	FlushMirrorPort                    // the port is the output of a mirror now
	FlushSnoopingOff                   // multicast snooping was turned off
	numFlushCauses
)

var flushCauseNames = [numFlushCauses]string{
	FlushByHand:      "by-hand",
	FlushPortDown:    "port-down",
	FlushDetached:    "port-removed",
	FlushVLANs:       "vlans-changed",
	FlushLoop:        "loop",
	FlushMirrorPort:  "mirror-output",
	FlushSnoopingOff: "snooping-off",
}

// String returns the name of the cause in the control API.
func (c FlushCause) String() string { return nameOf(c, flushCauseNames[:]) }

// FlushCauses returns the names of all causes.
func FlushCauses() []string { return flushCauseNames[:] }

// A Record is something that has happened in a switch.
type Record struct {
	What  RecordKind
	At    time.Time
	Port  string // by its name at that time; "" for a blackhole
	Other string
	MAC   MAC
	VLAN  uint16
	All   bool    // in every VLAN; VLAN is 0
	Type  FDBKind // as in FDBEntry

	Group  netip.Addr
	Source netip.Addr // of a static membership for one source; else invalid

	Count int
	Cause FlushCause
}

// A Journal records what happens in a switch, for one reader. Whoever makes a change appends a
// record, with a lock held that only the reader takes otherwise, and never waits for the reader:
// when the journal is full, records are lost and counted.
type Journal struct {
	sw    *Switch
	ready chan struct{}

	mu      sync.Mutex // ranks after all other locks of the switch
	records []Record
	lost    Lost
}

// OpenJournal begins a journal for up to size records. There can be one at a time: a second one
// takes the place of the first, which records nothing more. Without a journal, recording costs a
// load for each change.
func (s *Switch) OpenJournal(size int) *Journal {
	j := &Journal{sw: s, ready: make(chan struct{}, 1), records: make([]Record, 0, max(size, 1))}
	for _, p := range s.journals() {
		p.Store(j)
	}
	return j
}

// journals returns the places where the parts of the switch look for the journal.
func (s *Switch) journals() [3]*atomic.Pointer[Journal] {
	return [...]*atomic.Pointer[Journal]{&s.journal, &s.fdb.journal, &s.mdb.journal}
}

// Close ends the journal. Records that have not been taken can still be taken.
func (j *Journal) Close() {
	for _, p := range j.sw.journals() {
		p.CompareAndSwap(j, nil)
	}
}

// Ready returns the channel that receives a value when there are records to be taken. One value may
// stand for many records.
func (j *Journal) Ready() <-chan struct{} { return j.ready }

// Lost is how many records a journal had no room for. Lost records of RecordPort are not counted.
type Lost struct {
	FDB    uint64
	Groups uint64 // of memberships in multicast groups
}

// Take returns the records since the last call, the oldest first, and how many are missing behind
// them because the journal was full. The journal uses buf, whose records the caller has finished
// with, for further records; nil or too small: it allocates.
func (j *Journal) Take(buf []Record) (records []Record, lost Lost) {
	j.mu.Lock()
	defer j.mu.Unlock()
	records, lost = j.records, j.lost
	if cap(buf) < cap(records) {
		buf = make([]Record, 0, cap(records))
	}
	j.records, j.lost = buf[:0], Lost{}
	return records, lost
}

// add appends a record.
func (j *Journal) add(r Record) {
	r.At = time.Now()
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.records) == cap(j.records) {
		switch {
		case r.What < RecordJoined:
			j.lost.FDB++
		case r.What < RecordPort:
			j.lost.Groups++
		}
		return
	}
	j.records = append(j.records, r)
	if len(j.records) > 1 {
		return // the reader has been told
	}
	select {
	case j.ready <- struct{}{}:
	default:
	}
}
