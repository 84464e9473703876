package vswitch

import (
	"math/bits"
	"testing"
	"time"
)

// NewStill makes a switch whose clock moves only by Advance.
func NewStill(cfg Config) *Switch { return newSwitch(cfg) }

// Advance moves the clock of a switch made by NewStill, second by second, as the janitor would.
func (s *Switch) Advance(d time.Duration) {
	for range d / time.Second {
		s.tick(s.fdb.now() + 1)
	}
}

// Remembered returns how many look-ups the inlet has remembered lately.
func (in *Inlet) Remembered() int { return in.memo.recalled }

// SendQueries sends the queries that are due, as the janitor does when it is woken.
func (s *Switch) SendQueries() { s.query(s.fdb.now()) }

// LeaveIDs makes the switch behave as if all but n port ids were taken; these n are the highest.
func (s *Switch) LeaveIDs(n int) {
	for i := range int(blackhole) - n {
		s.ids[i] = true
	}
}

// Check verifies that the FDB and the MDB are consistent. No other goroutine may use them
// meanwhile.
func (s *Switch) Check(t *testing.T) {
	s.fdb.check(t)
	s.mdb.check(t)
}

// WithLockedMDB calls f while the MDB's lock is held.
func (s *Switch) WithLockedMDB(f func()) {
	s.mdb.mu.Lock()
	defer s.mdb.mu.Unlock()
	f()
}

// The limits of the MDB, and of how much of a report is read.
const (
	MaxGroups        = maxGroups
	MaxGroupsPerPort = maxGroupsPerPort
	MaxLateMessages  = maxLateMessages

	MaxSources         = maxSources
	MaxSourcesPerPort  = maxSourcesPerPort
	MaxSourcesPerGroup = maxSourcesPerGroup

	ReportLen = reportLen
)

// ParseMulticast parses the head of a frame and a packet as snooping does, and returns how many
// records of a report it has found; -1: the packet is malformed.
func ParseMulticast(head, packet []byte, cut bool) (records int) {
	for at := MinFrameLen; at <= MinFrameLen+vlanTagLen; at += vlanTagLen {
		multicastFrame(head, at)
	}
	m := multicastMessage(packet, cut, false)
	if m.kind == msgMalformed {
		return -1
	}
	for m.records.next() {
		records++
	}
	return records
}

// WithLockedFDB calls f while the FDB's lock is held.
func (s *Switch) WithLockedFDB(f func()) {
	s.fdb.mu.Lock()
	defer s.fdb.mu.Unlock()
	f()
}

// Dropped is a drop of the last batch.
type Dropped struct {
	Stage  string
	Reason string
	Port   string // the port at which the drop is counted; "" if that is detached
	Rule   string // the filter and its rule that has dropped the frames; "" in other stages
	Frames []int  // places in the batch
}

// Dropped returns the drops of the last batch, if there were at most MaxBatch.
func (in *Inlet) Dropped() (list []Dropped) {
	b := &in.batch
	for _, d := range b.drops[:b.ndrops] {
		e := Dropped{Stage: d.at.String(), Reason: d.why.String()}
		if d.port != nil {
			e.Port = d.port.cfg.Name
		}
		if d.rule != nil {
			e.Rule = d.rule.filter + " " + d.rule.name
		}
		for m := d.frames; m != 0; m &= m - 1 {
			e.Frames = append(e.Frames, bits.TrailingZeros64(m))
		}
		list = append(list, e)
	}
	return list
}

// The limits of the neighbor table.
const (
	MaxNeighbors        = maxNeighbors
	MaxNeighborsPerPort = maxNeighborsPerPort
)

// LearnedNeighbors returns the number of learned entries, those that are too old included.
func (s *Switch) LearnedNeighbors() int { return s.neigh.Load().total }

// CheckNeighbors verifies that the neighbor table is consistent.
func (s *Switch) CheckNeighbors(t *testing.T) {
	table := s.neigh.Load()
	if table == nil {
		return
	}
	table.mu.Lock()
	defer table.mu.Unlock()
	total, count := 0, make(map[portID]int)
	for b := range table.buckets {
		if list := table.buckets[b].Load(); list != nil {
			for _, n := range *list {
				if table.bucket(n.key) != &table.buckets[b] || table.find(n.key) != n {
					t.Errorf("%v is in bucket %d, or twice", n.key, b)
				}
				total++
				count[n.port]++
			}
		}
	}
	for id, n := range table.count {
		if n != count[id] {
			t.Errorf("port %d has %d neighbors, counted as %d", id, count[id], n)
		}
	}
	if total != table.total {
		t.Errorf("%d neighbors, counted as %d", total, table.total)
	}
}
