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
// The FDB maps (MAC address, VLAN) to the port behind which that station was
// last seen sending. With it a unicast frame goes to one port; without an
// entry the frame has to be flooded, which costs every port time and shows
// everyone the traffic. Every frame asks twice: for its source, to learn, and
// for its destination.
//
// # Structure
//
// Entries live in buckets of one cache line each (64 bytes): five words, five
// time stamps, one word of overflow counts. A key (60 bits) is put through a
// keyed permutation; the low bits of the result name the key's home bucket, and
// the upper 48 bits are stored. Since a permutation loses nothing, position and
// stored bits together are the key, and what is left of the word has room for
// the port:
//
//	 63                             16 15    13 12           0
//	+---------------------------------+--------+--------------+
//	| permuted key, bits 59 to 12     |  disp  |   port id    |   0: free
//	+---------------------------------+--------+--------------+
//
// So an entry's identity and its value are one 64-bit word. That is what makes
// reading without locks simple: there is no state in which the key is of one
// entry and the port of another.
//
// The table has at least one bucket for two entries allowed, thus is never
// more than 40 % full. Where a home bucket overflows, the entry goes to one
// of the seven that follow, and disp says how far. The home bucket counts, in
// four bits for each distance, how many of its entries live there: a look-up
// reads one cache line, and a second one only if its key may be in it. Entries
// never move from slot to slot and there are no tombstones.
//
// Beside the buckets lies a cold array with one record for each slot, for
// writers alone: the key, and links for the lists of each port's entries.
//
// # Addresses held in every VLAN
//
// An address that is pinned to a port which carries all VLANs has one entry instead of 4096. Its
// key has the group bit set, which no station's address has, and no VLAN. Learning such an address
// behind another port is refused in every VLAN, so a look-up needs that entry only when it has
// found nothing else; and as long as there is no such entry at all, not even then. The VLAN of the
// port's untagged frames, in which most of its frames are, has an entry of the usual kind besides
// (entryTwin), so that these are found at once.
//
// Addresses that are only said to be the host's (SetLocal) have an entry for every VLAN of another
// kind (entrySpare). It answers for a destination that nothing else is known of, and does not keep
// anybody from being learned.
//
// # Locking and memory model
//
// Readers (lookup, refresh) take no lock and may run on any number of
// threads. Writers hold mu. They publish a new entry by storing its time stamp
// and then its word, move one to another port with one store of the word, and
// remove one by storing zero. sync/atomic is sequentially consistent, so that a
// reader who sees the word sees the stamp. What a reader can get wrong, and why
// it does no harm:
//
//   - It misses an entry that is being written: the frame is flooded once.
//   - It reads a word, the slot gets a new owner, and it reads the new owner's
//     stamp: it forwards by an answer that was right when it began.
//   - It refreshes a slot that has a new owner: refresh swaps the stamp that it
//     has read against now, and a new owner's stamp is not an old one.
//
// A port's id is given to another port only when no reader can hold an
// answer from before (see epoch.go).
//
// # Time
//
// The clock counts seconds and is advanced by the janitor; a stamp is written
// only when the second has changed, so that a busy entry's cache line stays
// shared between the cores but for one write a second. An entry unused for
// longer than the ageing time no longer answers, at once; the janitor removes
// it from the table soon after.
//
// # Threats
//
// Guests choose the source addresses that are learned here.
//
//   - MAC flooding: one guest sends from ever new addresses so that the table
//     fills up, everyone's entries are pushed out, and their traffic is flooded
//     for the guest to read. When the table is full, room is made at the cost of
//     the port with the most dynamic entries, and of the learner's own port if
//     none has more. So a port loses entries only to ports that have fewer; a
//     flooder soon has the most, and displaces itself.
//   - Learning as a weapon against the CPU: making room is limited for each
//     port to evictionsPerSecond; who waits for the lock does not wait but
//     learns another time; and one batch takes the lock at most once. Finding
//     the victim takes time logarithmic in the number of ports and constant in
//     that of entries.
//   - Collisions: the permutation is keyed at random for each table, so that
//     addresses that meet in one bucket cannot be computed beforehand. If a
//     neighbourhood of eight buckets is full all the same, the rules for a full
//     table apply to it.
//   - Stealing an address: a dynamic entry follows its address to another port;
//     anything else would break live migration. A static entry does not. As in
//     Open vSwitch, a frame from elsewhere that claims a static address is
//     forwarded but not learned, and counted (FDBStaticClaims).
//   - Keeping an address alive with a clock that stands still, or stamps from
//     the future: stamps come from the switch's clock alone.
type fdb struct {
	buckets []fdbBucket
	mask    uint64 // len(buckets) - 1
	perm    permutation
	clock   atomic.Uint32 // seconds; written by tick alone
	ageing  uint32        // seconds
	holds   atomic.Int32  // entries that are for every VLAN; written with mu held
	size    int           // most entries

	mu    sync.Mutex
	cold  []fdbCold          // by slot
	ports [maxPorts]*fdbPort // by id; nil: no such port
	heap  fdbHeap            // ports by number of dynamic entries
	used  int                // entries in the table, static ones included
	fixed int                // static ones among these
	twins int                // entryTwin among these, which do not count
	sweep int                // bucket at which ageing goes on

	watchers []chan struct{} // see WatchFDB

	stats [numFDBEvents]atomic.Uint64 // of all ports together
}

const (
	bucketSlots = 5
	maxDisp     = 7

	// maxPorts bounds port ids to what fits into an entry; id 0 is not given
	// to any port.
	portBits = 13
	maxPorts = 1 << portBits

	dispShift  = portBits
	tagShift   = 16
	minBuckets = 1 << 12 // so that home bucket and 48 stored bits make a whole key

	// stampStatic stands in place of a time in entries that neither age nor
	// move.
	stampStatic = ^uint32(0)

	// evictionsPerSecond is how often a port may make room for a new address
	// of its own in a full table. Beyond that its new addresses are not
	// learned until the next second.
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

func (s slot) split() (bucket, i int) { return int(s / bucketSlots), int(s % bucketSlots) }

func newFDB(size int, ageing uint32) *fdb {
	n := max(minBuckets, 1<<bits.Len(uint((size+1)/2-1)))
	t := &fdb{
		buckets: make([]fdbBucket, n),
		mask:    uint64(n - 1),
		perm:    randomPermutation(),
		ageing:  ageing,
		size:    size,
		cold:    make([]fdbCold, n*bucketSlots),
	}
	t.clock.Store(1)
	return t
}

// A permutation maps 60-bit keys to 60-bit values, each to another. It is
// keyed and mixes well, but is no cipher.
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

// word is the entry of h at distance disp from home, with no port yet.
func (h hash) word(disp int) uint64 {
	return uint64(h)>>12<<tagShift | uint64(disp)<<dispShift
}

func (t *fdb) now() uint32 { return t.clock.Load() }
