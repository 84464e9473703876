package netport

import "sync"

// A HoldMemory is the memory in which ports hold frames for guests whose receive buffers have run
// out (rx_hold.go). All ports of a switch share one.
//
// Each port can use one chunk. What ports use beyond that is limited: for all together, and for
// each port to what remains for others. A guest may never receive again, and its port then keeps
// what it holds. So a few such guests leave half, a quarter, and so on, to the next; and however
// many there are, each other port has its chunk.
type HoldMemory struct {
	limit int64 // bytes that may be used beyond each port's first chunk

	mu   sync.Mutex
	used int64 // of limit
	free []*holdChunk
}

const (
	// holdChunkSize is the size, in bytes, of the pieces in which the memory is given out. Two
	// frames of 64 KiB fit, if their packets are as long as those that Linux makes.
	holdChunkSize = 128 << 10

	// maxHoldBytes is the most memory, in bytes, that one port may use.
	maxHoldBytes = 16 << 20

	// maxFreeChunks is the number of unused chunks that are kept for the next burst.
	maxFreeChunks = 16
)

// A holdChunk has records (see heldFrames) from read to write, which are offsets in mem.
type holdChunk struct {
	read, write int
	mem         [holdChunkSize]byte
}

// NewHoldMemory returns memory of which all ports together may use limit bytes, and each port one
// chunk besides.
func NewHoldMemory(limit int64) *HoldMemory { return &HoldMemory{limit: limit} }

// A holdAccount is one port's part of a HoldMemory.
type holdAccount struct {
	mem   *HoldMemory
	bytes int64 // in use; guarded by mem.mu
}

// get returns an empty chunk, or nil if the port can have no more.
func (a *holdAccount) get() *holdChunk {
	m := a.mem
	m.mu.Lock()
	defer m.mu.Unlock()
	if a.bytes > 0 {
		if a.bytes+holdChunkSize > maxHoldBytes || m.used+a.bytes+holdChunkSize > m.limit {
			return nil
		}
		m.used += holdChunkSize
	}
	a.bytes += holdChunkSize
	last := len(m.free) - 1
	if last < 0 {
		return &holdChunk{}
	}
	c := m.free[last]
	m.free = m.free[:last]
	c.read, c.write = 0, 0
	return c
}

// put returns a chunk.
func (a *holdAccount) put(c *holdChunk) {
	m := a.mem
	m.mu.Lock()
	defer m.mu.Unlock()
	if a.bytes -= holdChunkSize; a.bytes > 0 {
		m.used -= holdChunkSize
	}
	if len(m.free) < maxFreeChunks {
		m.free = append(m.free, c)
	}
}

// inUse returns the number of bytes that the port uses.
func (a *holdAccount) inUse() int64 {
	if a.mem == nil {
		return 0
	}
	a.mem.mu.Lock()
	defer a.mem.mu.Unlock()
	return a.bytes
}
