package capture

import (
	"reflect"
	"sync/atomic"

	vswitch "vswitchd/switch"
)

// A ring stores the frames that workers have captured until they are written to the client.
//
// It consists of an array of records and of one for bytes. A worker reserves a record and bytes
// with one compare-and-swap of end, which counts both; writes them; and marks the record as done.
// The reader takes records in order, waits at one that is not done, and gives records and bytes
// back by storing begin. So nobody waits for a worker that has been interrupted while it was
// copying, except for the reader, and nobody at all waits for the reader.
//
// begin and end wrap around. Their difference is right as long as a ring has less than 2^32 records
// and bytes.
type ring struct {
	records []record
	bytes   []byte

	begin atomic.Uint64 // a position: stored by the reader
	_     [56]byte      // begin and end are in different cache lines
	end   atomic.Uint64 // a position: changed by workers
}

// A position is the number of records (upper half) and of bytes (lower half) that have been used
// since the start.
type position = uint64

func at(records, bytes uint32) position { return uint64(records)<<32 | uint64(bytes) }

func split(p position) (records, bytes uint32) { return uint32(p >> 32), uint32(p) }

// A record is a frame in the ring.
type record struct {
	done atomic.Bool // the worker has written the record and its bytes

	out     bool
	drop    bool
	partial bool // the rest of the frame could not be read
	reason  vswitch.DropReason
	begin   uint32
	room    uint32 // reserved bytes, from begin on
	size    uint32 // captured bytes
	length  uint32 // of the frame
	offload vswitch.Offload

	time         int64 // nanoseconds since 1970
	port         *portCount
	stage, from  string // of Drop
	filter, rule string // likewise
}

// bytesPerRecord is how many bytes there are for each record. Frames are shorter only if nearly all
// are the shortest ones; then the records are used up before the bytes.
const bytesPerRecord = 256

// newRing makes a ring for a number of bytes, a power of two.
func newRing(bytes int) *ring {
	return &ring{bytes: make([]byte, bytes), records: make([]record, bytes/bytesPerRecord)}
}

// sizeOfRing returns the memory of a ring for a number of bytes.
func sizeOfRing(bytes int) int {
	return bytes + bytes/bytesPerRecord*int(reflect.TypeFor[record]().Size())
}

// reserve reserves a record with a number of bytes. nil: there is no room.
func (r *ring) reserve(bytes int) *record {
	for {
		begin, end := r.begin.Load(), r.end.Load()
		firstRecord, firstByte := split(begin)
		records, used := split(end)
		if int(records-firstRecord) >= len(r.records) || int(used-firstByte)+bytes > len(r.bytes) {
			return nil
		}
		if r.end.CompareAndSwap(end, at(records+1, used+uint32(bytes))) {
			e := &r.records[int(records)&(len(r.records)-1)]
			e.begin, e.room = used, uint32(bytes)
			return e
		}
	}
}

// space returns the bytes of a record: they may be in two pieces, at the end of the array and at
// its beginning.
func (r *ring) space(e *record) (first, second []byte) {
	begin := int(e.begin) & (len(r.bytes) - 1)
	end := begin + int(e.room)
	if end <= len(r.bytes) {
		return r.bytes[begin:end:end], nil
	}
	return r.bytes[begin:], r.bytes[:end-len(r.bytes)]
}

// next returns the first record, or nil if there is none or its worker has not finished it.
func (r *ring) next() *record {
	records, _ := split(r.begin.Load())
	end, _ := split(r.end.Load())
	e := &r.records[int(records)&(len(r.records)-1)]
	if records == end || !e.done.Load() {
		return nil
	}
	return e
}

// release gives back e, the first record.
func (r *ring) release(e *record) {
	records, used := split(r.begin.Load())
	room := e.room
	e.done.Store(false)
	r.begin.Store(at(records+1, used+room))
}

// contents appends the captured bytes of a record to b.
func (r *ring) contents(b []byte, e *record) []byte {
	first, second := r.space(e)
	n := min(int(e.size), len(first))
	b = append(b, first[:n]...)
	return append(b, second[:int(e.size)-n]...)
}
