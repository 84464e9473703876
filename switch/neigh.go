package vswitch

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
)

// Neighbor suppression
// ====================
//
// The neighbor table says which MAC address an IP address has. With it, stage neigh
// (stage_neigh.go) answers ARP requests and neighbor solicitations for stations behind ports with
// PortConfig.NeighSuppress, and keeps such requests from these ports. There is a table only while
// some port has the flag.
//
// # Where the entries come from
//
// Configured entries (Change.Neighbors, and ports with one address in PortConfig.MACs, for single
// addresses in Guards.AllowedIPs) are a sorted list, which belongs to a portSet.
//
// Learned entries come from ARP and neighbor discovery, like those of any host's cache, with these
// differences: the MAC address has to be behind the port that the message came from, according to
// the FDB; configured entries are not overwritten; an address that a port may use by its guard is
// not taken over by a port without such a guard; and an entry whose MAC address has changed is not
// used for neighProbation seconds, in which requests are flooded as without suppression. So a
// station that claims the address of another gains nothing that it would not have without
// suppression: the owner still receives requests, and can answer.
//
// An entry is used only while the FDB knows its MAC address.
//
// # Structure and locking
//
// The table is an array of immutable lists of records. A change replaces a list with one store of a
// pointer; readers take no lock. A message that repeats what is known, as nearly all do, only
// stores a time stamp. Writers hold mu; learning does not wait for it, because hosts repeat their
// messages. mu ranks after Switch.mu and the FDB's.
type neighTable struct {
	buckets [neighBuckets]atomic.Pointer[[]*neighbor]
	seed    [3]uint64

	mu    sync.Mutex
	total int
	count map[portID]int // learned entries by port
	sweep int            // bucket at which the next tick goes on
}

const (
	neighBuckets = 2048

	maxNeighbors        = 16384
	maxNeighborsPerPort = 1024

	// neighAging is how long a learned entry is used after the last message, in seconds.
	neighAging = 1200

	// neighProbation is the time in which an entry whose MAC address has changed is not used.
	neighProbation = 60
)

// A neighKey is the key of a learned entry. An IPv4 address is mapped to IPv6 (RFC 4291, section
// 2.5.5.2).
type neighKey struct {
	ip   ipv6
	vlan uint16
}

func mapped4(a uint32) ipv6 { return ipv6{0, mapped | uint64(a)} }

func (a ipv6) is4() bool { return a.hi == 0 && a.lo>>32 == mapped>>32 }

// addr returns a as an address of its IP version.
func (a ipv6) netip() netip.Addr {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], a.hi)
	binary.BigEndian.PutUint64(b[8:], a.lo)
	return netip.AddrFrom16(b).Unmap()
}

func ipOf(a netip.Addr) ipv6 {
	b := a.As16()
	return ipv6At(b[:])
}

// isStation reports whether a can be the address of one station on a link.
func (a ipv6) isStation() bool {
	if a.is4() {
		top := uint8(a.lo >> 24)
		return top != 0 && top != 127 && top < 224
	}
	return a.hi>>56 != 0xff && (a.hi != 0 || a.lo > 1)
}

// A neighbor is a learned entry. It is immutable, except for stamp.
type neighbor struct {
	key     neighKey
	mac     addr
	port    portID // from which the entry was learned
	guarded bool   // the port's guard allows it the address
	router  bool   // of IPv6
	changed uint32 // second in which the address had another MAC address; 0: never
	stamp   atomic.Uint32
}

// live reports whether the entry is not too old.
func (n *neighbor) live(now uint32) bool { return int32(now-n.stamp.Load()) <= neighAging }

// usable reports whether requests are answered with the entry.
func (n *neighbor) usable(now uint32) bool {
	return n.live(now) && (n.changed == 0 || now-n.changed >= neighProbation)
}

func newNeighTable() *neighTable {
	t := &neighTable{count: make(map[portID]int)}
	var b [24]byte
	rand.Read(b[:]) // never fails
	for i := range t.seed {
		t.seed[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	return t
}

func (t *neighTable) bucket(k neighKey) *atomic.Pointer[[]*neighbor] {
	h := mulFold(k.ip.hi^t.seed[0], k.ip.lo^t.seed[1])
	h = mulFold(h^uint64(k.vlan), t.seed[2])
	return &t.buckets[h%neighBuckets]
}

// find returns the learned entry of an address, or nil.
func (t *neighTable) find(k neighKey) *neighbor {
	list := t.bucket(k).Load()
	if list == nil {
		return nil
	}
	for _, n := range *list {
		if n.key == k {
			return n
		}
	}
	return nil
}

// replace replaces an entry by another; either may be nil. Needs mu.
func (t *neighTable) replace(old, now *neighbor) {
	k := cmp.Or(old, now).key
	b := t.bucket(k)
	var list []*neighbor
	if was := b.Load(); was != nil {
		list = slices.DeleteFunc(slices.Clone(*was), func(n *neighbor) bool { return n == old })
	}
	if old != nil {
		t.total--
		t.count[old.port]--
	}
	if now != nil {
		t.total++
		t.count[now.port]++
		list = append(list, now)
	}
	if len(list) == 0 {
		b.Store(nil)
		return
	}
	b.Store(&list)
}

// A claim is what a message says about a station.
type claim struct {
	ip       ipv6
	mac      addr // 0: the message says nothing
	router   bool // the station is a router
	routerIs bool // the message says whether it is one
	weak     bool // the message does not override another MAC address (RFC 4861, section 7.2.5)
}

// learn learns from a message that port src has sent in a VLAN. The MAC address is behind the port.
func (t *neighTable) learn(c claim, vlan uint16, src *portView, now uint32) {
	k := neighKey{c.ip, vlan}
	was := t.find(k)
	guarded := src.guard.allowsIP(c.ip)
	next := neighbor{key: k, mac: c.mac, port: src.id, guarded: guarded, router: c.router}
	if was != nil {
		if !c.routerIs {
			next.router = was.router
		}
		if was.mac == c.mac && was.port == src.id && was.guarded == guarded && was.router == next.router {
			if stamp := was.stamp.Load(); stamp != now {
				was.stamp.Store(now)
			}
			return
		}
	}
	if !t.mu.TryLock() {
		src.counters.neigh[NeighContended].Add(1)
		return
	}
	defer t.mu.Unlock()
	if was = t.find(k); was != nil && was.live(now) && was.mac != c.mac {
		if c.weak {
			return
		}
		if was.guarded && !guarded {
			src.counters.neigh[NeighRefused].Add(1)
			return
		}
		next.changed = now
		src.counters.neigh[NeighChanged].Add(1)
	} else if was != nil {
		next.changed = was.changed
	}
	if was == nil || was.port != src.id {
		full := was == nil && t.total >= maxNeighbors
		if full || t.count[src.id] >= maxNeighborsPerPort {
			src.counters.neigh[NeighLimited].Add(1)
			return
		}
	}
	if was == nil {
		src.counters.neigh[NeighLearned].Add(1)
	}
	n := &neighbor{
		key: next.key, mac: next.mac, port: next.port, guarded: next.guarded, router: next.router, changed: next.changed,
	}
	n.stamp.Store(now)
	t.replace(was, n)
}

// forget removes the entries learned from a port. A nil table has none.
func (t *neighTable) forget(id portID) {
	t.remove(0, neighBuckets, func(n *neighbor) bool { return n.port == id })
}

// tick removes some of the entries that are too old.
func (t *neighTable) tick(now uint32) {
	const chunk = neighBuckets / 32
	if t == nil {
		return
	}
	t.remove(t.sweep, chunk, func(n *neighbor) bool { return !n.live(now) })
	t.sweep = (t.sweep + chunk) % neighBuckets
}

// remove removes the entries in some buckets for which gone is true.
func (t *neighTable) remove(first, buckets int, gone func(*neighbor) bool) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for b := first; b < first+buckets; b++ {
		list := t.buckets[b].Load()
		if list == nil {
			continue
		}
		for _, n := range *list {
			if gone(n) {
				t.replace(n, nil)
			}
		}
	}
}

// allowsIP reports whether the guard's list of addresses has a. A nil guard has no list.
func (g *guard) allowsIP(a ipv6) bool {
	switch {
	case g == nil || g.ips == nil:
		return false
	case a.is4():
		return g.ips.has4(uint32(a.lo))
	}
	return g.ips.has6(a)
}
