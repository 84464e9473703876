package vhostuser

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

const gib = 1 << 30

func openAccount(t *testing.T, p *Pool, memory uint64, vrings int) *Account {
	t.Helper()
	a := p.Open(Limits{Memory: memory, MemoryName: "max_memory", Vrings: vrings})
	t.Cleanup(a.Close)
	return a
}

// refused expects an error about a limit that names the limited resource.
func refused(t *testing.T, err error, name string) {
	t.Helper()
	if !errors.Is(err, ErrLimit) || !strings.Contains(err.Error(), name) {
		t.Errorf("error is %v, want one that names %q", err, name)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// An account's own limit applies however much is left.
func TestAccountLimit(t *testing.T) {
	p := NewPool(Capacity{1 << 47, 65530, 1 << 20})
	a := openAccount(t, p, 10*gib, 2)
	must(t, a.takeMapping(4*gib, 0))
	must(t, a.takeMapping(6*gib, 4*gib))
	refused(t, a.takeMapping(1, 10*gib), "max_memory is 10 GiB")
	// A table that replaces another fits while both are mapped.
	must(t, a.takeMapping(10*gib, 0))
	a.SetMemory(20*gib, false)
	must(t, a.takeMapping(10*gib, 10*gib))
	if u := a.Use(); u.Memory != 30*gib || u.MemoryLimit != 20*gib {
		t.Errorf("uses %+v", u)
	}
}

// Whatever all the others take, an account can have its assured part, and the reserve is never
// assigned.
func TestPoolAssures(t *testing.T) {
	for _, c := range []struct {
		name string
		Capacity
		accounts int
	}{
		{"plenty", Capacity{1 << 47, 1 << 20, 1 << 20}, 20},
		{"little address space", Capacity{1 << 39, 1 << 20, 1 << 20}, 20},
		{"few mappings", Capacity{1 << 47, 2000, 1 << 20}, 20},
		{"few descriptors", Capacity{1 << 47, 65530, 2048}, 20},
		{"many accounts", Capacity{1 << 47, 65530, 1 << 17}, 1000},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := NewPool(c.Capacity)
			honest := openAccount(t, p, 1<<40, 2)
			must(t, honest.begin())
			var used amount
			greedy := make([]*Account, c.accounts)
			for i := range greedy {
				greedy[i] = openAccount(t, p, 1<<40, 2)
			}
			for _, a := range greedy {
				if a.begin() != nil {
					continue
				}
				for size := uint64(1 << 40); size >= 1<<12; {
					if a.takeMapping(size, a.Use().Memory) != nil {
						size /= 2
					}
				}
				for r := range used {
					used[r] += a.used[r]
				}
			}
			for r := range used {
				if have := p.has[r]; used[r] > have || have+c.reserve()[r] != (amount{c.AddressSpace, c.Mappings, c.FileDescriptors})[r] {
					t.Errorf("resource %d: %d taken of %d", r, used[r], have)
				}
			}
			// Half of the total, divided among all.
			share := p.has[addressSpace] / 2 / uint64(c.accounts+1)
			for range minSlots {
				must(t, honest.takeMapping(min(share, 1<<40)/minSlots-1, honest.Use().Memory))
			}
		})
	}
}

// Resources that one account releases are available to another.
func TestPoolGivesBack(t *testing.T) {
	p := NewPool(Capacity{64 * gib, 1 << 20, 1 << 20}) // 56 GiB for front-ends, half assured
	a, b := openAccount(t, p, 100*gib, 2), openAccount(t, p, 100*gib, 2)
	must(t, a.takeMapping(35*gib, 0)) // 14 GiB are assured to b, and 7 are kept for later accounts
	refused(t, a.takeMapping(gib, 35*gib), "address space")
	must(t, b.takeMapping(14*gib, 0))
	refused(t, b.takeMapping(gib, 14*gib), "address space")
	a.releaseMapping(35 * gib)
	must(t, b.takeMapping(21*gib, 14*gib))
	refused(t, b.takeMapping(gib, 35*gib), "address space")
}

// Accounts that are opened later get their part of the unused resources.
func TestPoolGrows(t *testing.T) {
	p := NewPool(Capacity{64 * gib, 1 << 20, 1 << 20})
	a := openAccount(t, p, 10*gib, 2)
	must(t, a.takeMapping(10*gib, 0))
	for range 7 {
		b := openAccount(t, p, 10*gib, 2)
		must(t, b.takeMapping(3*gib, 0)) // half of 56 GiB, divided by 8
	}
}

// The number of slots that a front-end was given does not change.
func TestSlotsStay(t *testing.T) {
	p := NewPool(Capacity{1 << 47, 4096, 1 << 20})
	a := openAccount(t, p, gib, 2)
	if n := a.Slots(); n != 509 {
		t.Fatalf("%d slots", n)
	}
	var last *Account
	for range 30 {
		last = openAccount(t, p, gib, 2)
	}
	if n, m := a.Slots(), last.Slots(); n != 509 || m < minSlots || m > 4096/30 {
		t.Errorf("%d slots, and %d for the last one", n, m)
	}
}

func TestDescriptorsAndMappingsAreNamed(t *testing.T) {
	p := NewPool(Capacity{1 << 47, 65530, 100})
	a := openAccount(t, p, gib, 256)
	refused(t, a.begin(), "RLIMIT_NOFILE")
	p = NewPool(Capacity{1 << 47, 8, 1000})
	a = openAccount(t, p, gib, 2)
	var err error
	for range 10 {
		err = errors.Join(err, a.takeMapping(1, 0))
	}
	refused(t, err, "vm.max_map_count")
}

func TestProcessCapacity(t *testing.T) {
	c, err := ProcessCapacity()
	must(t, err)
	if c.AddressSpace < 1<<38 || c.Mappings < 1000 || c.FileDescriptors < 64 {
		t.Errorf("capacity is %+v", c)
	}
	t.Logf("%+v", c)
}

func TestShowSize(t *testing.T) {
	for n, want := range map[uint64]string{0: "0 bytes", 1023: "1023 bytes", 1536: "1.5 KiB", 1 << 40: "1 TiB", 5 << 50: "5120 TiB"} {
		if got := showSize(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

// A front-end with many queues is assured descriptors for all of them, before others are assured
// more than they need.
func TestNeedsComeFirst(t *testing.T) {
	p := NewPool(Capacity{1 << 47, 65530, 2000})
	wide := openAccount(t, p, gib, 256)
	var others []*Account
	for range 5 {
		others = append(others, openAccount(t, p, gib, 2))
	}
	for _, a := range others {
		must(t, a.begin())
		for a.takeMapping(1, 0) == nil {
		}
	}
	if len(p.Scarce()) > 0 {
		t.Errorf("scarce: %v", p.Scarce())
	}
	must(t, wide.begin())
	for range minSlots + extraMappings {
		must(t, wide.takeMapping(1, 0))
	}
	openAccount(t, p, gib, 256)
	if s := p.Scarce(); len(s) != 1 {
		t.Errorf("scarce: %v", s)
	}
}

// Accounts that are opened after others have taken everything that they can still get something.
// The assured parts do not come from the reserve.
func TestLatecomers(t *testing.T) {
	p := NewPool(Capacity{64 * gib, 1 << 20, 1 << 20})
	var accounts []*Account
	greedy := func(a *Account) (got uint64) {
		accounts = append(accounts, a)
		for size := uint64(64 * gib); size >= 1<<20; {
			if a.takeMapping(size, a.Use().Memory) != nil {
				size /= 2
			}
		}
		return a.Use().Memory
	}
	a, b := openAccount(t, p, 100*gib, 2), openAccount(t, p, 100*gib, 2)
	greedy(a)
	greedy(b)
	late := openAccount(t, p, 100*gib, 2)
	for range 10 {
		openAccount(t, p, 100*gib, 2)
	}
	if n := greedy(late); n < 2*gib {
		t.Errorf("a latecomer can have %d bytes", n)
	}
	for range 10 {
		greedy(openAccount(t, p, 100*gib, 2))
	}
	var sum uint64
	for _, a := range accounts {
		sum += a.Use().Memory
	}
	if sum > p.has[addressSpace] {
		t.Errorf("%d bytes are in use, of %d", sum, p.has[addressSpace])
	}
}

// Shares adds up what the front-ends use, of what is left to them.
func TestSharesAddUp(t *testing.T) {
	p := NewPool(Capacity{80 * gib, 8000, 800})
	a, b := openAccount(t, p, gib, 2), openAccount(t, p, gib, 2)
	must(t, a.takeMapping(gib/2, 0))
	must(t, b.takeMapping(gib/4, 0))
	want := []Share{
		{"address-space", gib/2 + gib/4, 70 * gib, "RLIMIT_AS"},
		{"mappings", 2, 7000, "vm.max_map_count"},
		{"file-descriptors", 2 + 2*waitingDescriptors, 700, "RLIMIT_NOFILE"},
	}
	if got := p.Shares(); !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
