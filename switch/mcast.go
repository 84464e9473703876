package vswitch

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"
	"sync"
	"sync/atomic"
)

// Multicast snooping
// ==================
//
// The multicast database (MDB) says which ports want the frames of an IP multicast group: those
// behind which a station has joined the group (IGMP, MLD), and those behind which a router is. What
// a station wants may depend on the source of a frame.
// Stage snoop (stage_snoop.go) keeps multicast frames from all other ports, as RFC 4541 recommends.
//
// # Structure
//
// What the data plane reads is an mcastTable: chains of immutable records of groups, and for each
// VLAN and IP version an immutable record of queriers and routers. A change replaces a record, and
// the records of its chain, by new ones with one store of a pointer; the garbage collector keeps
// the old ones for as long as a reader needs them. So readers take no lock, and see each group as
// it was before or after a change.
//
// Who has joined what, and until when, is in records that only writers use, guarded by mdb.mu. A
// report that renews a membership changes such a record alone.
//
// # Learning
//
// Reports and queries are handled inside Deliver, before the frames that follow them in the batch:
// what a station sends to a group that it has just joined itself, or receives because of that, does
// not depend on another goroutine. Like the FDB, the MDB does not make a worker wait: if the lock
// is taken, the message is forwarded, and a copy is left to the janitor. If too many are left
// already, the message is lost (McastContended); hosts repeat reports of changes (RFC 3376, section
// 8.1; RFC 3810, section 9.1), and queriers their queries. The lock is held for the handling of one
// message and of a few that were left, for a chunk of the sweep of old memberships, for a change of
// a port, or for a list of the MDB.
//
// A new or removed membership allocates, and so does a message that is left; a renewed membership
// does not, and neither does the forwarding of a frame.
//
// # Threats
//
// Guests choose what they join and may send queries.
//
//   - Filling the MDB: a port can have maxGroupsPerPort memberships, a small part of maxGroups,
//     with maxSourcesPerPort sources. It can make mcastChangesPerSecond changes a second.
//   - Collisions: the hash of groups is keyed at random for each table.
//   - Posing as a router: a query makes its port a router port, which gets all multicast. With
//     PortConfig.McastRouter set to McastRouterNever, the port does not become one.
//   - Cutting off others: a port's messages change memberships of that port alone, except for a
//     query about a group, after which the members have to report again. They receive that query,
//     too.

// McastConfig is the configuration of multicast snooping.
type McastConfig struct {
	Snooping     bool // IP multicast goes only to ports that want it
	Unregistered McastUnregistered
	Querier      QuerierConfig // matters only with Snooping
}

// Equal reports whether two configurations say the same.
func (c McastConfig) Equal(o McastConfig) bool {
	return c.Snooping == o.Snooping && c.Unregistered == o.Unregistered && c.Querier.equal(&o.Querier)
}

// McastUnregistered says where frames go that are sent to a group that nobody has joined.
type McastUnregistered string

// Values of McastUnregistered.
const (
	McastToRouters McastUnregistered = "routers" // to router ports
	McastFlooded   McastUnregistered = "flood"   // to all ports
)

// McastRouter says when a port is a router port, which gets all multicast.
type McastRouter string

// Values of McastRouter.
const (
	McastRouterAuto   McastRouter = "auto"   // while a router behind the port announces itself
	McastRouterAlways McastRouter = "always" // always
	McastRouterNever  McastRouter = "never"  // never
)

// Timers in seconds, with the default values of the robustness variable (2), of the query interval
// (125 s) and of the query response interval (10 s): RFC 3376, section 8; RFC 3810, section 9.
const (
	membershipInterval = 260 // a membership is valid for this long after a report
	querierInterval    = 255 // a querier is present for this long after a query
	lastMemberCount    = 2   // a membership is removed after this many unanswered queries
	lastMemberInterval = 1   // between such queries
	defaultResponse    = 10  // the time for answers to a query that does not name it
)

const (
	maxGroups             = 16384
	maxGroupsPerPort      = 1024
	mcastChangesPerSecond = 1024

	mcastBuckets = 8192

	// maxLateMessages is the most messages that are left at a time.
	maxLateMessages = 256
)

// A groupAddr is the address of an IP multicast group; an IPv4 address is mapped to IPv6 (RFC 4291,
// section 2.5.5.2).
type groupAddr struct{ hi, lo uint64 }

const mapped = 0xffff << 32

func group4(b []byte) groupAddr { return groupAddr{0, mapped | uint64(binary.BigEndian.Uint32(b))} }

func group6(b []byte) groupAddr {
	return groupAddr{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
}

func (g groupAddr) isV6() bool { return g.hi != 0 }

// isMulticast reports whether g is a multicast address (224.0.0.0/4, ff00::/8).
func (g groupAddr) isMulticast() bool {
	if g.isV6() {
		return g.hi>>56 == 0xff
	}
	return uint32(g.lo)>>28 == 0xe
}

// isLocal reports whether g is in 224.0.0.0/24, or a group of IPv6 of link-local scope or less. All
// ports get frames to such a group (RFC 4541, section 2.1.2; section 3).
func (g groupAddr) isLocal() bool {
	if g.isV6() {
		return g.hi>>48&0xf <= 2
	}
	return uint32(g.lo)>>8 == 0xe00000
}

// bytes returns the address as 4 or 16 bytes.
func (g groupAddr) bytes() []byte {
	b := binary.BigEndian.AppendUint64(nil, g.hi)
	b = binary.BigEndian.AppendUint64(b, g.lo)
	if !g.isV6() {
		b = b[12:]
	}
	return b
}

// An mdbKey is the key of a group in the MDB.
type mdbKey struct {
	group groupAddr
	vlan  uint16
}

// A netKey names a VLAN and an IP version: the two have separate queriers and routers.
type netKey struct {
	vlan uint16
	v6   bool
}

// idSet is an immutable set of port ids.
type idSet []uint64

func (p idSet) has(id portID) bool {
	i := int(id / 64)
	return i < len(p) && p[i]>>(id%64)&1 != 0
}

func (p idSet) with(id portID) idSet {
	for len(p) <= int(id/64) {
		p = append(p, 0)
	}
	p[id/64] |= 1 << (id % 64)
	return p
}

func (p idSet) without(id portID) idSet {
	if p.has(id) {
		p[id/64] &^= 1 << (id % 64)
	}
	return p
}

// mcastTable is the part of the MDB that the data plane reads.
type mcastTable struct {
	buckets [mcastBuckets]atomic.Pointer[mcastGroup]
	nets    [2][maxVID + 1]atomic.Pointer[mcastNet] // by IP version
	seed    [3]uint64
}

// mcastNet is the queriers and routers in a VLAN. It is immutable.
type mcastNet struct {
	from, until uint32    // seconds between which frames are kept from ports
	querier     groupAddr // with the lowest address; 0.0.0.0 if all have that
	own         bool      // that is this switch
	routers     idSet
}

// live reports whether the memberships are known: a querier is present, and hosts have had time to
// answer its first query.
func (n *mcastNet) live(now uint32) bool {
	return n.present(now) && int32(now-n.from) >= 0
}

// present reports whether a querier is present.
func (n *mcastNet) present(now uint32) bool { return n != nil && int32(n.until-now) >= 0 }

func newMcastTable() *mcastTable {
	t := new(mcastTable)
	var b [24]byte
	rand.Read(b[:]) // never fails
	for i := range t.seed {
		t.seed[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return t
}

func (t *mcastTable) bucket(k mdbKey) *atomic.Pointer[mcastGroup] {
	h := mulFold(k.group.hi^t.seed[0], k.group.lo^t.seed[1])
	h = mulFold(h^uint64(k.vlan), t.seed[2])
	return &t.buckets[h%mcastBuckets]
}

func mulFold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// find returns the members of a group, or nil if nobody has joined it.
func (t *mcastTable) find(k mdbKey) *mcastGroup {
	g := t.bucket(k).Load()
	for g != nil && g.key != k {
		g = g.next
	}
	return g
}

// put replaces the record of the members of a group; nil: there are none. Needs mdb.mu.
func (t *mcastTable) put(k mdbKey, members *mcastGroup) {
	b := t.bucket(k)
	chain := members
	for g := b.Load(); g != nil; g = g.next {
		if g.key != k {
			chain = &mcastGroup{g.key, g.ports, g.sources, chain}
		}
	}
	b.Store(chain)
}

func (t *mcastTable) net(k netKey) *atomic.Pointer[mcastNet] {
	version := 0
	if k.v6 {
		version = 1
	}
	return &t.nets[version][k.vlan&maxVID]
}

// mdb is the multicast database. Locks: mdb.mu ranks after Switch.mu and after the FDB's.
type mdb struct {
	mu     sync.Mutex
	table  *mcastTable // nil: snooping is off; changed with Switch.mu held as well
	groups map[mdbKey]*mdbGroup
	list   []*mdbGroup // the same
	nets   map[netKey][]member
	total  int        // memberships, without static ones
	fixed  int        // static memberships
	next   transition // scratch memory
	sweep  int        // where in list the next sweep goes on

	late chan lateMessage // messages that arrived while mu was held by another goroutine

	// The switch as a querier.
	querying  QuerierConfig
	queriers  []*querier // sorted
	inquiries []inquiry
	opened    []*mcastPort  // since the last queries
	wake      chan struct{} // holds one value: queries may be due
	address   MAC           // of the switch
	now       func() uint32

	journal atomic.Pointer[Journal] // nil: nothing is recorded

	stats [numMcastEvents]atomic.Uint64 // of all ports together
}

// mdbGroup is a group with at least one member, static or not.
type mdbGroup struct {
	key     mdbKey
	at      int // index in mdb.list
	members []member
	fixed   []fixedMember
	sources int // of members
}

func (g *mdbGroup) empty() bool { return len(g.members)+len(g.fixed) == 0 }

// mcastPort is the MDB's record of one port. Guarded by mdb.mu.
type mcastPort struct {
	id       portID
	name     string
	open     bool // something may be learned from the port
	counters *Counters
	groups   int // memberships
	sources  int // of these

	second  uint32 // of changes
	changes int
}

// mayChange takes one change from the port's budget for this second, and reports whether the budget
// had any left.
func (p *mcastPort) mayChange(now uint32) bool {
	if p.second != now {
		p.second, p.changes = now, 0
	}
	p.changes++
	return p.changes <= mcastChangesPerSecond
}
