package vhostuser

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"sync"

	"vswitchd/virtqueue"
)

// Resources that all front-ends of a process share.
//
// A front-end makes the back-end map memory and hold file descriptors. These cost the front-end
// next to nothing (a sparse file of 64 TiB is free), but use up resources of which the process has
// a fixed amount. When those are exhausted, other front-ends are refused, and the Go runtime, which
// maps memory too, ends the process.
//
// A Pool divides the available amount, less a reserve for the process itself, among Accounts, one
// for each front-end that may connect. An Account has a limit. Requests up to its assured part
// always succeed. Requests between the two are served from the amount that is not assured to any
// Account, as long as some is left.

// ErrLimit is wrapped by the error for a request that would exceed a limit. The error
// names the limit.
var ErrLimit = errors.New("limit reached")

// A resource is one of the kinds of resources that a Pool divides.
type resource int

const (
	addressSpace resource = iota // bytes of mapped memory
	mappings                     // separate mappings
	descriptors                  // open file descriptors
	numResources
)

// An amount has one entry for each resource.
type amount [numResources]uint64

// Capacity is the amount of resources of a process, for itself and for front-ends.
type Capacity struct {
	AddressSpace    uint64 // bytes
	Mappings        uint64 // vm.max_map_count
	FileDescriptors uint64 // RLIMIT_NOFILE
}

// reserve returns the amount that is kept from front-ends: an eighth of the address space and of
// the mappings, because the Go runtime's heap needs room to grow; and an eighth of the descriptors,
// but at least 64 and at most 4096, for listening sockets, uplinks, the data plane's threads and
// the clients of the control API.
func (c Capacity) reserve() amount {
	return amount{
		c.AddressSpace / 8,
		c.Mappings / 8,
		min(max(c.FileDescriptors/8, 64), 4096, c.FileDescriptors),
	}
}

// forFrontEnds returns the amount that is available to front-ends.
func (c Capacity) forFrontEnds() amount {
	have, keep := amount{c.AddressSpace, c.Mappings, c.FileDescriptors}, c.reserve()
	for r := range have {
		have[r] -= keep[r]
	}
	return have
}

// A Pool divides the capacity of a process among front-ends. Its methods, and those of Account, may
// be called from any goroutine.
type Pool struct {
	has amount

	mu       sync.Mutex
	accounts []*Account
}

// NewPool returns a Pool for a process that has the given capacity.
func NewPool(c Capacity) *Pool { return &Pool{has: c.forFrontEnds()} }

// Limits are the limits of one Account.
type Limits struct {
	// Memory is the address space, in bytes, that a front-end's memory may take: guest memory,
	// including what page alignment adds, the log of dirty pages, and the record of
	// descriptors in flight. While a table of guest memory replaces another, each of the two
	// may have as much.
	Memory uint64

	// MemoryName is the operator's name for that limit, for errors.
	MemoryName string

	// DiskMemory allows memory that is a file on a local disk. DiskMemoryName is the operator's
	// name for that setting, for errors.
	DiskMemory     bool
	DiskMemoryName string

	// Vrings is Device.MaxVrings: each vring may have file descriptors.
	Vrings int
}

// An Account is one front-end's part of a Pool. It outlives sessions: a device that serves one
// front-end after another has one Account for all of them. A nil Account has no limits.
type Account struct {
	pool *Pool

	// All of these are guarded by pool.mu.
	limits  Limits
	assured amount
	used    amount
	slots   int // the result of Slots; 0: Slots has not been called yet

	blocking blockingCalls // calls for the front-end's sessions that have not returned
}

const (
	// minSlots is the number of regions that every front-end may map: as many as
	// SET_MEM_TABLE holds.
	minSlots = maxTableRegions

	// extraMappings is the number of mappings besides the regions of one table of guest memory:
	// the regions of a SET_MEM_TABLE that is about to replace it, and two logs and two records
	// of descriptors in flight, the old one and the new one.
	extraMappings = maxTableRegions + 4

	// A vring has descriptors for kicks, calls and errors, and two more if its calls are
	// relayed (see relay).
	vringDescriptors = 5

	// sessionDescriptors are the other descriptors of a session: its connection, the back-end
	// channel, old and new, with two descriptors each, the log's eventfd, those that came with
	// the message that is being handled, one that is being exchanged, and two for watching huge
	// pages.
	sessionDescriptors = 1 + 2*2 + 1 + MaxFDs + 1 + 2

	// waitingDescriptors are in use while no front-end is connected: a listening socket, and a
	// connection that is about to be served.
	waitingDescriptors = 2
)

// Open adds an Account to the pool. The caller has to close the Account.
func (p *Pool) Open(l Limits) *Account {
	a := &Account{pool: p, limits: l, used: amount{descriptors: waitingDescriptors}}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.accounts = append(p.accounts, a)
	p.assure()
	return a
}

// Close returns an Account's part to the pool. No session may be using the Account.
func (a *Account) Close() {
	if a == nil {
		return
	}
	p := a.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	p.accounts = slices.DeleteFunc(p.accounts, func(o *Account) bool { return o == a })
	p.assure()
}

// checkDisk refuses memory on a disk where that is not allowed.
func (a *Account) checkDisk() error {
	if a == nil {
		return nil
	}
	a.pool.mu.Lock()
	defer a.pool.mu.Unlock()
	if !a.limits.DiskMemory {
		return refuse("%w: guest memory is a file on a disk, which %s = true allows", ErrLimit, a.limits.DiskMemoryName)
	}
	return nil
}

// SetMemory changes Limits.Memory and Limits.DiskMemory. Existing mappings stay.
func (a *Account) SetMemory(bytes uint64, disk bool) {
	a.pool.mu.Lock()
	defer a.pool.mu.Unlock()
	a.limits.Memory, a.limits.DiskMemory = bytes, disk
	a.pool.assure()
}

// SetVrings changes Limits.Vrings. No session may be using the Account.
func (a *Account) SetVrings(n int) {
	a.pool.mu.Lock()
	defer a.pool.mu.Unlock()
	if n != a.limits.Vrings {
		a.limits.Vrings = n
		a.pool.assure()
	}
}

// maxUse returns the largest amount that the Account can use.
func (a *Account) maxUse() amount {
	slots := uint64(virtqueue.MaxRegions)
	if a.slots > 0 {
		slots = uint64(a.slots)
	}
	twice := a.limits.Memory * 2
	if a.limits.Memory > math.MaxUint64/2 {
		twice = math.MaxUint64
	}
	return amount{twice, slots + extraMappings, slots + extraMappings + waitingDescriptors + a.sessionNeeds()}
}

// needs returns the amount that the Account needs for a front-end that maps minSlots regions, which
// suffices for most. The amount of memory that it needs is not known.
func (a *Account) needs() amount {
	return amount{0, minSlots + extraMappings, minSlots + extraMappings + waitingDescriptors + a.sessionNeeds()}
}

// Scarce returns a line for each resource that is so scarce that a front-end with common needs may
// be refused. The line names the limit to raise.
func (p *Pool) Scarce() (lines []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range []resource{mappings, descriptors} {
		var need uint64
		scarce := false
		for _, a := range p.accounts {
			need += a.needs()[r]
			scarce = scarce || a.assured[r] < a.needs()[r]
		}
		if !scarce {
			continue
		}
		if r == mappings {
			lines = append(lines, fmt.Sprintf("sysctl vm.max_map_count leaves %d mappings to %d front-ends, which may need %d", p.has[r], len(p.accounts), need))
		} else {
			lines = append(lines, fmt.Sprintf("RLIMIT_NOFILE (ulimit -n) leaves %d file descriptors to %d front-ends, which may need %d", p.has[r], len(p.accounts), need))
		}
	}
	return lines
}

// A Share is how much of a resource the front-ends of a process use together.
type Share struct {
	Resource string // "address-space" in bytes, "mappings" or "file-descriptors"
	Used     uint64
	Limit    uint64 // for all front-ends; the rest is kept for the process
	SetBy    string // setting of the system that limits the process
}

// Shares returns the use of all resources.
func (p *Pool) Shares() []Share {
	shares := []Share{
		addressSpace: {Resource: "address-space", SetBy: "RLIMIT_AS"},
		mappings:     {Resource: "mappings", SetBy: "vm.max_map_count"},
		descriptors:  {Resource: "file-descriptors", SetBy: "RLIMIT_NOFILE"},
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for r := range shares {
		shares[r].Limit = p.has[r]
		for _, a := range p.accounts {
			shares[r].Used += a.used[r]
		}
	}
	return shares
}

// sessionNeeds returns the number of file descriptors that a session may need besides
// those of memory.
func (a *Account) sessionNeeds() uint64 {
	return uint64(vringDescriptors*a.limits.Vrings + sessionDescriptors)
}

// assure computes the amount that is assured to each Account. If there is enough for the largest
// use of all, that is assured. Otherwise each Account is assured its needs, if there is enough for
// that, and half of the rest is divided into equal shares: an Account that can use less than its
// share is assured all that it can use, and the remainder goes to the others. The other half is
// assigned on request, first come, first served.
func (p *Pool) assure() {
	for r := range numResources {
		var wanted, needed uint64
		for _, a := range p.accounts {
			wanted = addSaturating(wanted, a.maxUse()[r])
			needed += a.needs()[r]
		}
		rest := p.has[r]
		for _, a := range p.accounts {
			a.assured[r] = 0
			switch {
			case wanted <= p.has[r]:
				a.assured[r] = a.maxUse()[r]
			case needed <= p.has[r]:
				a.assured[r] = a.needs()[r]
			}
			rest -= a.assured[r]
		}
		if wanted > p.has[r] {
			p.share(r, rest/2)
		}
	}
}

// share divides n units of a resource among all Accounts.
func (p *Pool) share(r resource, n uint64) {
	more := func(a *Account) uint64 { return a.maxUse()[r] - a.assured[r] }
	modest := slices.SortedFunc(slices.Values(p.accounts), func(a, b *Account) int {
		return cmp.Compare(more(a), more(b))
	})
	for i, a := range modest {
		part := min(more(a), n/uint64(len(modest)-i))
		a.assured[r] += part
		n -= part
	}
}

func addSaturating(a, b uint64) uint64 {
	if sum, carry := bits.Add64(a, b, 0); carry == 0 {
		return sum
	}
	return math.MaxUint64
}

// Slots returns how many regions of guest memory the front-end may map at a time. The number does
// not change after the first call: "features must not change" for a front-end that reconnects, and
// QEMU refuses a back-end that has fewer slots than its guest uses.
func (a *Account) Slots() int {
	if a == nil {
		return virtqueue.MaxRegions
	}
	a.pool.mu.Lock()
	defer a.pool.mu.Unlock()
	if a.slots == 0 {
		room := min(int64(a.assured[mappings]), int64(a.assured[descriptors])-int64(waitingDescriptors+a.sessionNeeds()))
		a.slots = int(min(max(room-extraMappings, minSlots), virtqueue.MaxRegions))
		a.pool.assure()
	}
	return a.slots
}

// Use is the amount that an Account uses.
type Use struct {
	Memory      uint64 // bytes of address space
	MemoryLimit uint64 // Limits.Memory
	Slots       int    // see Account.Slots
}

// Use returns how much of its limits the Account uses.
func (a *Account) Use() Use {
	if a == nil {
		return Use{Slots: virtqueue.MaxRegions}
	}
	slots := a.Slots()
	a.pool.mu.Lock()
	defer a.pool.mu.Unlock()
	return Use{Memory: a.used[addressSpace], MemoryLimit: a.limits.Memory, Slots: slots}
}

// begin charges the Account with what every session needs; end releases that.
func (a *Account) begin() error {
	if a == nil {
		return nil
	}
	if n := a.blocking.pending.Load(); n > 0 {
		return fmt.Errorf("%w: %d of an earlier front-end's", ErrHung, n)
	}
	return a.take(amount{descriptors: a.sessionNeeds()})
}

func (a *Account) end() {
	if a != nil {
		a.release(amount{descriptors: a.sessionNeeds()})
	}
}

// takeMapping charges the Account with a mapping of the given length, in bytes, for a front-end
// that has other mappings of held bytes which stay. releaseMapping releases it.
func (a *Account) takeMapping(length, held uint64) error {
	if a == nil {
		return nil
	}
	a.pool.mu.Lock()
	limits := a.limits
	a.pool.mu.Unlock()
	if sum := addSaturating(length, held); sum > limits.Memory {
		return fmt.Errorf("%w: the front-end's memory would amount to %s, its %s is %s",
			ErrLimit, showSize(sum), limits.MemoryName, showSize(limits.Memory))
	}
	return a.take(amount{length, 1, 1})
}

func (a *Account) releaseMapping(length uint64) {
	if a != nil {
		a.release(amount{length, 1, 1})
	}
}

func (a *Account) take(n amount) error {
	p := a.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	for r := range numResources {
		if n[r] == 0 {
			continue
		}
		if err := p.check(a, r, n[r]); err != nil {
			return err
		}
	}
	for r := range numResources {
		a.used[r] += n[r]
	}
	return nil
}

// check verifies that the Account can have n more units of a resource. Beyond an Account's assured
// part, what is assured to others and not used counts as used, and an eighth of the total is kept
// for Accounts that are opened later.
func (p *Pool) check(a *Account, r resource, n uint64) error {
	used := addSaturating(a.used[r], n)
	claimed := used
	for _, o := range p.accounts {
		if o != a {
			used = addSaturating(used, o.used[r])
			claimed = addSaturating(claimed, max(o.used[r], o.assured[r]))
		}
	}
	if addSaturating(a.used[r], n) <= a.assured[r] {
		if used <= p.has[r] {
			return nil
		}
	} else if claimed <= p.has[r]-p.has[r]/8 {
		return nil
	}
	switch show := p.has[r]; r {
	case addressSpace:
		return fmt.Errorf("%w: %s of the process's address space are available for the memory of its %d front-ends",
			ErrLimit, showSize(show), len(p.accounts))
	case mappings:
		return fmt.Errorf("%w: %d mappings are available for the %d front-ends; sysctl vm.max_map_count limits those of the process",
			ErrLimit, show, len(p.accounts))
	default:
		return fmt.Errorf("%w: %d file descriptors are available for the %d front-ends; RLIMIT_NOFILE (ulimit -n) limits those of the process",
			ErrLimit, show, len(p.accounts))
	}
}

func (a *Account) release(n amount) {
	a.pool.mu.Lock()
	defer a.pool.mu.Unlock()
	for r := range numResources {
		a.used[r] -= n[r]
	}
}

// showSize formats a number of bytes with a binary prefix, rounded to a tenth.
func showSize(n uint64) string {
	units := []string{"bytes", "KiB", "MiB", "GiB", "TiB"}
	v, u := float64(n), 0
	for v >= 1024 && u < len(units)-1 {
		v, u = v/1024, u+1
	}
	if u == 0 || v == math.Trunc(v) {
		return fmt.Sprintf("%.0f %s", v, units[u])
	}
	return fmt.Sprintf("%.1f %s", v, units[u])
}
