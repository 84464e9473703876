package vswitch

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"
	"sync"
	"sync/atomic"
)

// The forwarding database (FDB)
// =============================
//
// The FDB maps (MAC address, VLAN) to the port behind which that station was last seen sending. A
// unicast frame whose destination has an entry goes to one port; without an entry the frame has to
// be flooded, which costs every port time and shows the traffic to all ports. There are two
// look-ups for each frame: of its source, to learn, and of its destination. (An inlet remembers the
// results of many of them, see memo.go.)
//
// # Structure
//
// Entries live in buckets of one cache line each (64 bytes): five words, five time stamps, one word
// of overflow counts. A key (60 bits) goes through a keyed permutation; the low bits of the result
// are the number of the key's home bucket, and the upper 48 bits are stored. A permutation loses no
// information, so position and stored bits together identify the key, and the rest of the word has
// room for the port:
//
//	 63                             16 15    13 12           0
//	+---------------------------------+--------+--------------+
//	| permuted key, bits 59 to 12     |  disp  |   port id    |   0: free
//	+---------------------------------+--------+--------------+
//
// So an entry's key and value are one 64-bit word. That makes reading without locks simple: a
// reader never sees the key of one entry with the port of another.
//
// The table has at least one bucket for every two entries that are allowed, and so is at most 40%
// full. If a home bucket is full, the entry goes into one of the seven buckets that follow, and
// disp is the distance. The home bucket counts, in four bits for each distance, how many of its
// entries are at that distance: a look-up reads one cache line, and another one only if the key may
// be there. Entries never move from slot to slot, and there are no tombstones.
//
// A separate (cold) array has one record for each slot, which only writers use: the key, and the
// links of the lists of each port's entries.
//
// # Addresses held in every VLAN
//
// An address that is pinned to a port which carries all VLANs has one entry instead of 4096. The
// key of that entry has the group bit set, which no station's address has, and no VLAN. Such an
// address is not learned behind another port in any VLAN, so a look-up consults that entry only if
// it has found no other one, and only if the table has any such entries. In the VLAN of the port's
// untagged frames, to which most of its frames belong, there is an additional entry of the usual
// kind (entryTwin), so that one look-up finds these frames' destination.
//
// The addresses of other devices of the host (SetLocal) have entries for every VLAN of another kind
// (entrySpare). Such an entry is used for a destination only if there is no other entry for the
// address, and does not keep the address from being learned.
//
// A blackhole in every VLAN is an entry like that of a pinned address. An operator's static entry
// for one VLAN takes precedence over it, because it is found first.
//
// # Locking and memory model
//
// Readers (lookup, refresh) take no lock and may run on any number of threads. Writers hold mu.
// They publish a new entry by storing its time stamp and then its word, move one to another port
// with one store of the word, and remove one by storing zero. sync/atomic is sequentially
// consistent, so that a reader who sees the word sees the stamp. These races remain, and are
// harmless:
//
//   - A reader misses an entry that is being written: the frame is flooded once.
//   - A reader reads a word, the slot is reused for another entry, and the reader reads the stamp
//     of that entry: the reader forwards by an answer that was right when the look-up began.
//   - What an inlet remembers is valid until changes is next counted up, which a writer does after
//     its stores. A batch that has loaded changes before is like one whose look-ups came first.
//   - A reader refreshes a slot that has been reused: the refresh is a compare-and-swap of the
//     stamp that was read, and the stamp of a new entry is not an old one.
//
// The id of a detached port is given to another port only when no reader can hold an older answer
// (see epoch.go).
//
// # Time
//
// The clock counts seconds and is advanced by the janitor; a stamp is written only when the second
// has changed, so that the cache line of a busy entry stays shared between the cores, except for
// one write a second. Look-ups ignore an entry as soon as it has been unused for longer than the
// ageing time; the janitor removes the entry from the table soon after.
//
// # Threats
//
// Guests choose the source addresses that are learned here.
//
//   - MAC flooding: a guest sends from ever new addresses, so that the table fills up, the entries
//     of the other ports are evicted, and the guest can read their traffic, which is flooded. In a
//     full table, an entry of the port with the most dynamic entries is evicted, or of the learning
//     port if no port has more. So a port loses entries only to ports that have fewer; a flooding
//     port soon has the most, and evicts its own.
//   - Exhausting the CPU by learning: each port may cause evictionsPerSecond evictions; a worker
//     that finds the lock taken does not wait, but leaves the learning to a later frame; and a
//     batch takes the lock at most once. Finding the entry to evict takes time logarithmic in the
//     number of ports and constant in the number of entries.
//   - Collisions: the permutation is keyed at random for each table, so that addresses with the
//     same home bucket cannot be computed in advance. If eight neighbouring buckets are full
//     nevertheless, the rules for a full table apply to them.
//   - Stealing an address: a dynamic entry moves to the port that its address was last seen at;
//     anything else would break live migration. A static entry does not move, and neither does a
//     sticky one, which ages. As in Open vSwitch, a frame from another port with such a source
//     address is forwarded but not learned, and counted (FDBStaticClaims). FDBConfig.HoldDown stops
//     addresses that move too often.
//   - Keeping an entry alive with wrong time stamps: all stamps come from the switch's clock.
type fdb struct {
	buckets []fdbBucket
	mask    uint64 // len(buckets) - 1
	perm    permutation
	clock   atomic.Uint32 // seconds; written by tick alone
	ageing  atomic.Uint32 // seconds
	hold    atomic.Uint32 // FDBConfig.HoldDown in seconds; 0: addresses move as often as they want
	holds   atomic.Int32  // number of entries for every VLAN; written with mu held
	changes atomic.Uint64 // number of changes of words and settings so far; see memo.go
	size    int           // the most entries allowed

	mu    sync.Mutex
	cold  []fdbCold          // by slot
	ports [maxPorts]*fdbPort // by id; nil: no such port
	heap  fdbHeap            // ports by number of dynamic entries
	used  int                // entries in the table, static ones included
	fixed int                // static ones among these
	twins int                // entryTwin among these, which do not count against size
	sweep int                // bucket at which the next tick goes on

	watchers []chan struct{}         // see WatchFDB
	journal  atomic.Pointer[Journal] // nil: nothing is recorded

	stats [numFDBEvents]atomic.Uint64 // of all ports together
}

const (
	bucketSlots = 5
	maxDisp     = 7

	// maxPorts is the limit of port ids that fit into an entry; id 0 means no port.
	portBits = 13
	maxPorts = 1 << portBits

	// blackhole is the id in entries whose frames are dropped; no port has it.
	blackhole = portID(maxPorts - 1)

	dispShift  = portBits
	tagShift   = 16
	minBuckets = 1 << 12 // so that home bucket and 48 stored bits make a whole key

	// stampStatic is the time stamp of entries that neither age nor move.
	stampStatic = ^uint32(0)

	// evictionsPerSecond is how many evictions from a full table the new addresses of one port may
	// cause. Beyond that, the port's new addresses are not learned until the next second.
	evictionsPerSecond = 1024
)

// A portID names a port in FDB entries and in the port set.
type portID uint16

// fdbBucket is one cache line.
type fdbBucket struct {
	word  [bucketSlots]atomic.Uint64
	stamp [bucketSlots]atomic.Uint32
	over  atomic.Uint32 // bits 4d to 4d+3: entries of this home at distance d
}

// A slot is an index into all slots of all buckets.
type slot uint32

const noSlot = ^slot(0)

// slotAt returns the slot of the i-th entry of a bucket.
func slotAt(bucket, i int) slot { return slot(bucket*bucketSlots + i) }

func (s slot) split() (bucket, i int) { return int(s / bucketSlots), int(s % bucketSlots) }

func newFDB(size int, cfg FDBConfig) *fdb {
	n := max(minBuckets, 1<<bits.Len(uint((size+1)/2-1)))
	t := &fdb{
		buckets: make([]fdbBucket, n),
		mask:    uint64(n - 1),
		perm:    randomPermutation(),
		size:    size,
		cold:    make([]fdbCold, n*bucketSlots),
	}
	t.clock.Store(1)
	t.configure(cfg)
	t.openPort(blackhole, 0, new(Counters))
	return t
}

// configure sets the times of the FDB. It may be called at any time.
func (t *fdb) configure(cfg FDBConfig) {
	if cfg.AgingTime <= 0 {
		cfg.AgingTime = DefaultAgingTime
	}
	t.ageing.Store(ceilSeconds(cfg.AgingTime))
	t.hold.Store(ceilSeconds(max(cfg.HoldDown, 0)))
	t.changes.Add(1)
}

// A permutation maps 60-bit keys to 60-bit values, one to one. It is keyed and mixes well, but is
// not a cipher.
type permutation struct{ xor, mul1, mul2 uint64 }

const keyMask = 1<<keyBits - 1

func randomPermutation() permutation {
	var b [24]byte
	rand.Read(b[:]) // never fails
	return permutation{
		xor:  binary.LittleEndian.Uint64(b[0:]) & keyMask,
		mul1: binary.LittleEndian.Uint64(b[8:]) | 1, // odd: invertible
		mul2: binary.LittleEndian.Uint64(b[16:]) | 1,
	}
}

// A hash is a permuted key.
type hash uint64

func (p *permutation) hash(k fdbKey) hash {
	x := uint64(k) ^ p.xor
	x = x * p.mul1 & keyMask
	x ^= x >> (keyBits / 2)
	x = x * p.mul2 & keyMask
	x ^= x >> (keyBits / 2)
	return hash(x)
}

// word is the word of an entry with hash h at distance disp from its home, without the port.
func (h hash) word(disp int) uint64 {
	return uint64(h)>>12<<tagShift | uint64(disp)<<dispShift
}

func (t *fdb) now() uint32 { return t.clock.Load() }
