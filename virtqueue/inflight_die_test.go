//go:build !race

// (There is nothing here for the race detector to find, and it multiplies the instructions, which
// are executed one by one, by ten.)

package virtqueue_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"

	"unsafe"

	"golang.org/x/sys/unix"

	"vswitchd/virtqueue"
	"vswitchd/virtqueue/virtqueuetest"
)

// A device dies, and a successor takes over. The first device is a separate process, which is run
// one machine instruction at a time: after each instruction that has changed the shared memory the
// device could have died, and the successor finds the memory in that state.

// What a dying device does.
const (
	dieServing    = "serving"
	dieRecovering = "recovering"
)

// dying is the argument of the process that is the dying device.
type dying struct {
	Config  virtqueue.Config
	Does    string
	InOrder bool // uses chains in order, without an in-flight record
}

// The file that is shared with a dying device: the guest's memory, the record, and a page with the
// words that synchronize the two processes.
const (
	dyingRings  = 0x2000
	dyingRecord = 0x2000
	dyingMeet   = 0x1000
	dyingEnv    = "VIRTQUEUE_DYING"
)

func TestMain(m *testing.M) {
	if s := os.Getenv(dyingEnv); s != "" {
		beDying(s)
		return
	}
	os.Exit(m.Run())
}

func mapDying(fd int) []byte {
	mem, err := unix.Mmap(fd, 0, dyingRings+dyingRecord+dyingMeet, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		panic(err)
	}
	return mem
}

func dyingRegion(mem []byte) virtqueue.Region {
	return virtqueue.Region{GuestAddr: 0, UserAddr: ringsAt, Mem: mem[:dyingRings]}
}

// meet returns the synchronization words: tid is set by the dying device to its thread's number,
// begin by the tracer when the device may begin, done by the device when it is done.
func meet(mem []byte) (tid, begin, done *uint32) {
	p := unsafe.Pointer(&mem[dyingRings+dyingRecord])
	return (*uint32)(p), (*uint32)(unsafe.Add(p, 4)), (*uint32)(unsafe.Add(p, 8))
}

// beDying is the main function of the process.
func beDying(env string) {
	var d dying
	if err := json.Unmarshal([]byte(env), &d); err != nil {
		panic(err)
	}
	runtime.LockOSThread()
	mem := mapDying(3)
	memory, err := virtqueue.NewMemory([]virtqueue.Region{dyingRegion(mem)})
	if err != nil {
		panic(err)
	}
	q, err := virtqueue.New(memory, d.Config)
	if err != nil {
		panic(err)
	}
	b := virtqueue.NewBatch(16)
	record := mem[dyingRings:][:dyingRecord]
	if d.Does == dieServing && !d.InOrder {
		if err := q.SetInflight(record); err != nil {
			panic(err)
		}
	}
	tid, begin, done := meet(mem)
	atomic.StoreUint32(tid, uint32(unix.Gettid()))
	for atomic.LoadUint32(begin) == 0 {
	}
	switch {
	case d.Does == dieServing:
		serveDying(q, b, d.InOrder || d.Config.Features&inOrder != 0)
	case d.InOrder:
		err = q.Resume()
	default:
		err = q.SetInflight(record)
	}
	if err != nil {
		panic(err)
	}
	atomic.StoreUint32(done, 1)
	for {
		unix.Pause()
	}
}

// serveDying pops, unpops, and completes in order and out of order, in batches.
func serveDying(q *virtqueue.Queue, b *virtqueue.Batch, ordered bool) {
	pop := func(n int) {
		if _, err := q.Pop(b, n); err != nil {
			panic(err)
		}
	}
	complete := func(heads ...int) {
		for _, i := range heads {
			q.Complete(&b.Chains[i], uint32(virtqueue.Len(b.Chains[i].Writable)))
		}
		q.Flush()
	}
	pop(4)
	q.Unpop(b, 1)
	if ordered {
		complete(0, 1)
	} else {
		complete(1, 0)
	}
	pop(3)
	if ordered {
		complete(2, 3)
	} else {
		complete(3)
	}
	pop(9)
	q.Unpop(b, 2)
}

// states runs a dying device on the given processor and returns all states of the shared memory,
// the first one included.
func states(t *testing.T, cpu, fd int, mem []byte, d dying) [][]byte {
	t.Helper()
	tid, begin, done := meet(mem)
	*tid, *begin, *done = 0, 0, 0
	env, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), dyingEnv+"="+string(env), "GODEBUG=asyncpreemptoff=1", "GOGC=off", "GOMAXPROCS=1")
	cmd.ExtraFiles = []*os.File{os.NewFile(uintptr(must2(unix.Dup(fd))), "shared")}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cmd.ExtraFiles[0].Close()
	// Nothing may wait for the process while it is traced: that would consume its stop events.
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	for atomic.LoadUint32(tid) == 0 {
		runtime.Gosched()
	}

	runtime.LockOSThread() // the tracer is a thread, not a process
	defer runtime.UnlockOSThread()
	thread := int(*tid)
	*tid = 0
	defer sameProcessor(t, cpu, thread)()
	if err := unix.PtraceAttach(thread); err != nil {
		t.Fatal("ptrace:", err)
	}
	// These waits last microseconds and happen ten thousand times: raw system calls, which do
	// not involve the scheduler, suffice.
	wait := func() (ok bool) {
		var status unix.WaitStatus
		for {
			_, _, errno := unix.RawSyscall6(unix.SYS_WAIT4, uintptr(thread), uintptr(unsafe.Pointer(&status)), unix.WALL, 0, 0, 0)
			if errno != unix.EINTR {
				return errno == 0 && status.Stopped()
			}
		}
	}
	step := func() {
		if _, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_SINGLESTEP, uintptr(thread), 0, 0, 0, 0); errno != 0 {
			t.Fatal("ptrace:", errno)
		}
	}
	shared := mem[:dyingRings+dyingRecord]
	all := [][]byte{slices.Clone(shared)}
	*begin = 1
	for ok := wait(); ok && atomic.LoadUint32(done) == 0; ok = wait() {
		if !bytes.Equal(shared, all[len(all)-1]) {
			all = append(all, slices.Clone(shared))
		}
		step()
	}
	if *done == 0 {
		t.Fatal("the device died on its own")
	}
	_ = unix.PtraceDetach(thread)
	return all
}

// sameProcessor makes this thread and another one run on the same processor, the n-th one, until
// the returned function is called. The two take turns at every instruction, and waking up another
// processor takes many times as long as switching threads on one.
func sameProcessor(t *testing.T, n, thread int) (undo func()) {
	t.Helper()
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		t.Fatal(err)
	}
	cpu := 0
	for n %= all.Count(); n > 0 || !all.IsSet(cpu); cpu++ {
		if all.IsSet(cpu) {
			n--
		}
	}
	one.Set(cpu)
	for _, id := range []int{0, thread} {
		if err := unix.SchedSetaffinity(id, &one); err != nil {
			t.Fatal(err)
		}
	}
	return func() { _ = unix.SchedSetaffinity(0, &all) }
}

func must2(fd int, err error) int {
	if err != nil {
		panic(err)
	}
	return fd
}

// Wherever a device dies, no chain is lost, none is used twice, and the chains in flight are popped
// again in the order in which they were popped before.
func TestDieAnywhere(t *testing.T) {
	for i, features := range []uint64{0, packed, inOrder, packed | inOrder} {
		t.Run(fmt.Sprintf("features=%#x", features), func(t *testing.T) {
			t.Parallel()
			c := newDyingCase(t, features|indirect)
			serving := states(t, i, c.fd, c.mem, dying{Config: c.cfg, Does: dieServing})
			if len(serving) < 30 {
				t.Fatalf("only %d states", len(serving))
			}
			for n, s := range serving {
				c.resume(t, s)
				// The successor may die as well.
				if n%31 == 3 {
					copy(c.mem, s)
					for _, s := range states(t, i, c.fd, c.mem, dying{Config: c.at(), Does: dieRecovering}) {
						c.resume(t, s)
					}
				}
			}
		})
	}
}

// A device that uses chains in order needs no record: the ring shows where it died. Its
// successor pops all chains that are not used, and marks as used only the rest of a batch that
// was being published.
func TestDieAnywhereInOrder(t *testing.T) {
	for i, features := range []uint64{0, inOrder, packed, packed | inOrder} {
		t.Run(fmt.Sprintf("features=%#x", features), func(t *testing.T) {
			t.Parallel()
			c := newDyingCase(t, features|indirect)
			serving := states(t, i, c.fd, c.mem, dying{Config: c.cfg, Does: dieServing, InOrder: true})
			if len(serving) < 5 {
				t.Fatalf("only %d states", len(serving))
			}
			finished := 0
			for _, s := range serving {
				copy(c.mem, s)
				n := c.resumeInOrder(t)
				if n == 0 {
					continue
				}
				finished += n
				// The successor may die as well.
				copy(c.mem, s)
				for _, s := range states(t, i, c.fd, c.mem, dying{Config: c.at(), Does: dieRecovering, InOrder: true}) {
					copy(c.mem, s)
					c.resumeInOrder(t)
				}
			}
			if (finished > 0) != (features&packed != 0) {
				t.Fatalf("%d chains were being published", finished)
			}
		})
	}
}

// resumeInOrder resumes with the memory as it is, and returns how many chains Resume
// alone marked used.
func (c *dyingCase) resumeInOrder(t *testing.T) (finished int) {
	t.Helper()
	before := c.used(t)
	q, err := virtqueue.New(c.Memory(), c.at())
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Resume(); err != nil {
		t.Fatal(err)
	}
	used := c.used(t)
	if finished = len(used) - len(before); finished < 0 || finished > 2 {
		t.Fatalf("%v were used before, now %v are", before, used)
	}
	b := virtqueue.NewBatch(16)
	if _, err := q.Pop(b, 16); err != nil {
		t.Fatal(err)
	}
	got := slices.Clone(used)
	for i := range b.Chains {
		got = append(got, slices.Index(c.heads, b.Chains[i].Head()))
		if err := b.Chains[i].Err; err != nil {
			t.Fatal(err)
		}
		q.Complete(&b.Chains[i], uint32(virtqueue.Len(b.Chains[i].Writable)))
	}
	q.Flush()
	want := []int{0, 1, 2, 3, 4, 5, 6, 7}
	if after := c.used(t); !slices.Equal(got, want) || !slices.Equal(after, want) {
		t.Fatalf("%v were used, popped %v; the driver sees %v", used, got[len(used):], after)
	}
	return finished
}

type dyingCase struct {
	*virtqueuetest.Driver
	fd    int
	mem   []byte
	cfg   virtqueue.Config
	heads []uint16 // of the chains that are available, in order
	descs []int    // number of descriptors of each
	sizes []int    // number of writable bytes of each
}

// newDyingCase makes a ring with eight chains, which cross the end of the ring or of its index.
func newDyingCase(t *testing.T, features uint64) *dyingCase {
	fd, _ := memfd(t, dyingRings+dyingRecord+dyingMeet)
	c := &dyingCase{fd: fd, mem: mapDying(fd)}
	t.Cleanup(func() { unix.Munmap(c.mem) })
	size, base := 16, uint32(0xfffc)
	if features&packed != 0 {
		size, base = 13, 5|1<<15
	}
	cfg, end := virtqueuetest.Layout(size, ringsAt)
	cfg.Features, cfg.Base = features, base
	var err error
	if c.Driver, err = virtqueuetest.New([]virtqueue.Region{dyingRegion(c.mem)}, cfg); err != nil {
		t.Fatal(err)
	}
	c.Room(end-ringsAt, dyingRings-(end-ringsAt))
	c.cfg = c.Config()
	bufs := func(n int) (b []buf) {
		for range n {
			b = append(b, c.Alloc(16))
		}
		return b
	}
	for i, n := range [][2]int{{1, 0}, {0, 1}, {2, 1}, {0, 1}, {0, 2}, {1, 1}, {1, 0}, {1, 0}} {
		add, descs := c.AddChain, n[0]+n[1]
		if i == 5 {
			add, descs = c.AddIndirect, 1
		}
		head, err := add(bufs(n[0]), bufs(n[1]))
		if err != nil {
			t.Fatal(err)
		}
		c.heads, c.descs, c.sizes = append(c.heads, head), append(c.descs, descs), append(c.sizes, 16*n[1])
	}
	c.Publish()
	return c
}

// at returns the configuration from a front-end that has lost its back-end: the front-end knows the
// used index of a split ring, but only the initial base of a packed ring.
func (c *dyingCase) at() virtqueue.Config {
	cfg := c.cfg
	if cfg.Features&packed == 0 {
		_, idx := c.Used()
		cfg.Base = uint32(idx)
	}
	return cfg
}

// used returns the indices of the chains that are used, in order.
func (c *dyingCase) used(t *testing.T) (chains []int) {
	add := func(id uint16) (at int) {
		at = slices.Index(c.heads, id)
		if at < 0 {
			t.Fatalf("chain %d is used", id)
		}
		from := at
		if c.cfg.Features&inOrder != 0 {
			from = len(chains)
		}
		for ; from <= at; from++ {
			chains = append(chains, from)
		}
		return at
	}
	if c.cfg.Features&packed == 0 {
		_, idx := c.Used()
		for i := uint16(c.cfg.Base); i != idx; i = uint16(c.cfg.Base) + uint16(len(chains)) {
			id, _ := c.UsedEntry(i & uint16(c.cfg.Size-1))
			add(uint16(id))
		}
		return chains
	}
	place := int(c.cfg.Base & 0x7fff)
	wrap := true
	for len(chains) < len(c.heads) {
		d := c.PackedDesc(place)
		if d.Flags&(virtqueuetest.FlagAvail|virtqueuetest.FlagUsed) != virtqueuetest.Used(wrap) {
			break
		}
		had := len(chains)
		add(d.ID)
		for _, i := range chains[had:] {
			place += c.descs[i]
		}
		if place >= c.cfg.Size {
			place -= c.cfg.Size
			wrap = !wrap
		}
	}
	return chains
}

// resume resumes with the memory in the given state.
func (c *dyingCase) resume(t *testing.T, state []byte) {
	t.Helper()
	copy(c.mem, state)
	before := c.used(t)
	q, err := virtqueue.New(c.Memory(), c.at())
	if err != nil {
		t.Fatal(err)
	}
	if err := q.SetInflight(c.mem[dyingRings:][:dyingRecord]); err != nil {
		t.Fatal(err)
	}
	if got := c.used(t); !slices.Equal(got, before) {
		t.Fatalf("%v were used before, now %v are", before, got)
	}
	b := virtqueue.NewBatch(1)
	for n := 1; ; n++ {
		popped, err := q.Pop(b, n)
		if err != nil {
			t.Fatal(err)
		}
		if popped == 0 {
			break
		}
	}
	// The remaining chains are those that were not used, in order.
	var want []int
	for i := range c.heads {
		if !slices.Contains(before, i) {
			want = append(want, i)
		}
	}
	var got []int
	for i := range b.Chains {
		chain := &b.Chains[i]
		at := slices.Index(c.heads, chain.Head())
		got = append(got, at)
		if chain.Err != nil || virtqueue.Len(chain.Writable) != c.sizes[at] {
			t.Fatalf("chain %d has %d writable bytes, %v", at, virtqueue.Len(chain.Writable), chain.Err)
		}
	}
	if !slices.Equal(got, want) {
		t.Fatalf("%v were used; popped %v instead of %v", before, got, want)
	}
	for i := range b.Chains {
		q.Complete(&b.Chains[i], uint32(virtqueue.Len(b.Chains[i].Writable)))
	}
	q.Flush()
	if got := c.used(t); !slices.Equal(got, append(before, want...)) {
		t.Fatalf("%v were used before and %v after, the driver sees %v", before, want, got)
	}
}
