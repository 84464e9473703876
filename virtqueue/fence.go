package virtqueue

import "sync/atomic"

// exchange32 stores v at p and is a full fence: every access before the call, plain ones included,
// is visible to the driver before any access after the call is made. Both sides of a ring announce
// something and then look at what the other side announced; without a full fence between the two
// steps, each can miss the other's announcement.
//
// The store is an exchange because atomic.StoreUint32 is a full fence only on some machines, and
// there only without the race detector, whose atomic stores are release stores. On amd64 both
// compile to XCHG, so the exchange costs nothing extra.
//
// On arm64 an exchange may be a pair of load-acquire and store-release exclusive, behind whose
// store a later plain load can still be made early. The load-acquire that follows cannot pass the
// store-release, and nothing can pass the load-acquire.
func exchange32(p *uint32, v uint32) {
	atomic.SwapUint32(p, v)
	atomic.LoadUint32(p)
}

// exchange64 is exchange32 for words of 64 bits.
func exchange64(p *uint64, v uint64) {
	atomic.SwapUint64(p, v)
	atomic.LoadUint64(p)
}
