package vswitch

import (
	"encoding/binary"
	"testing"
)

// pairsOf makes n frames whose pairs of addresses are numbered from first on.
func pairsOf(first, n int) []Frame {
	frames := make([]Frame, n)
	for i := range frames {
		head := make([]byte, 60)
		binary.BigEndian.PutUint64(head, 0x5254<<48|uint64(first+i)<<16|0x5254)
		binary.BigEndian.PutUint32(head[8:], uint32(1<<24|first+i))
		frames[i] = Frame{Head: head, Len: len(head)}
	}
	return frames
}

// pass looks up frames, as Deliver does in batches, and stores those that are not remembered. It
// returns how many are.
func (m *memo) pass(frames []Frame) (remembered int) {
	var ports [MaxBatch]portID
	for ; len(frames) > 0; frames = frames[min(MaxBatch, len(frames)):] {
		if !m.useful() {
			continue
		}
		batch := frames[:min(MaxBatch, len(frames))]
		m.recall(true, batch, &ports)
		for i := range batch {
			begin := beginningOf(batch[i].Head)
			switch want := portID(1 + begin.dst()%1000); ports[i] {
			case want:
				remembered++
			case 0:
				m.store(begin.dst(), begin.src(), want)
			default:
				panic("another pair's port")
			}
		}
	}
	return remembered
}

func TestMemoForgets(t *testing.T) {
	var m memo
	m.nextEra()
	frames := pairsOf(0, 8)
	m.pass(frames)
	if n := m.pass(frames); n != len(frames) {
		t.Errorf("%d of %d are remembered", n, len(frames))
	}
	m.nextEra()
	if n := m.pass(frames); n != 0 {
		t.Errorf("%d are remembered in the next era", n)
	}
	// An era has as many bits as there are eras until its number comes again.
	for range eraMask + 1 {
		m.nextEra()
	}
	if n := m.pass(frames); n != 0 {
		t.Errorf("%d are remembered from an era with the same number", n)
	}
}

func TestMemoGrows(t *testing.T) {
	var m memo
	m.nextEra()
	frames := pairsOf(0, 1000)
	for range judgeAfter/len(frames) + 2 {
		m.pass(frames)
	}
	if n := m.pass(frames); len(m.sets) != manySets || n < 950 {
		t.Errorf("%d of 1000 pairs are remembered in %d sets", n, len(m.sets))
	}
}

// TestMemoRests: where every frame has other addresses, the memory is left alone nearly always.
func TestMemoRests(t *testing.T) {
	var m memo
	m.nextEra()
	batches, active := 0, 0
	for first := 0; first < 1<<22; first += MaxBatch {
		if m.resting == 0 {
			active++
		}
		batches++
		m.pass(pairsOf(first, MaxBatch))
	}
	if active > batches/10 {
		t.Errorf("%d of %d batches were looked up", active, batches)
	}
}
