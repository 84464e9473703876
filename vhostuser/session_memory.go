package vhostuser

import (
	"cmp"
	"fmt"
	"slices"

	"vswitchd/virtqueue"
)

// region returns the description of a mapped region.
func (r MemRegion) region(fd int, m mapping) Region {
	return Region{
		GuestAddr: r.GuestAddr, UserAddr: r.UserAddr, Size: r.Size, MmapOffset: r.MmapOffset,
		FD: fd, PageSize: m.pageSize, Adds: 1,
	}
}

// find returns the index of the region that has the same addresses and size as r, or -1.
func (s *Session) find(r MemRegion) int {
	return slices.IndexFunc(s.state.Regions, Region{GuestAddr: r.GuestAddr, UserAddr: r.UserAddr, Size: r.Size}.same)
}

// setMemTable is SET_MEM_TABLE: "Sets the memory map regions on the back-end so it can translate
// the vring addresses. The size and ordering of the fds matches the number and ordering of
// memory regions."
//
// Front-ends send the whole table for every change, and QEMU also each time that the guest's driver
// starts. Regions that are already mapped stay mapped: mapping them again would cost a page fault
// for every page of the guest.
func (s *Session) setMemTable(m *Message) error {
	table, err := decodeMemTable(m.Payload)
	if err != nil {
		return err
	}
	var (
		regions = make([]Region, len(table))
		maps    = make([]mapping, len(table))
		fresh   = make([]bool, len(table))
		kept    = make([]bool, len(s.state.Regions))
	)
	for i, r := range table {
		if have := s.findFile(r, m.FDs[i]); have >= 0 {
			regions[i], maps[i], kept[have] = s.state.Regions[have], s.maps[have], true
			regions[i].Adds = 1
		} else {
			fresh[i] = true
		}
	}
	for i, r := range table {
		if !fresh[i] {
			continue
		}
		held := held(maps...) + held(s.logMap, s.inflightMap)
		if maps[i], err = s.mapMemory(held, m.FDs[i], r); err != nil {
			break
		}
		regions[i] = r.region(m.FDs[i], maps[i])
	}
	oldRegions, oldMaps := s.state.Regions, s.maps
	if err == nil {
		err = s.replaceMemory(regions, maps)
	}
	if err != nil {
		for i := range maps {
			if fresh[i] {
				maps[i].unmap()
			}
		}
		return err
	}
	for i := range fresh {
		if fresh[i] {
			m.TakeFD(i)
		}
	}
	for i := range oldRegions {
		if !kept[i] {
			oldMaps[i].unmap()
			closeFD(oldRegions[i].FD)
		}
	}
	return nil
}

// addMemReg is ADD_MEM_REG: "The message payload contains a memory region descriptor struct,
// describing a region of guest memory which the back-end device must map in. Exactly one file
// descriptor from which the memory is mapped is passed in the ancillary data."
//
// QEMU before 8.0 sends this, and later REM_MEM_REG, once for each queue pair. So the additions
// of a region that is already mapped are counted, and the region is unmapped when it has been
// removed as many times.
func (s *Session) addMemReg(m *Message) error {
	r := decodeSingleRegion(m.Payload)
	if i := s.findFile(r, m.FDs[0]); i >= 0 {
		s.update(func(st *State) { st.Regions[i].Adds++ })
		return nil
	}
	if n := s.account.Slots(); len(s.state.Regions) >= n {
		return refuse("%w: %d memory regions are mapped, the number in the reply to GET_MAX_MEM_SLOTS", ErrLimit, n)
	}
	mp, err := s.mapMemory(held(s.maps...)+held(s.logMap, s.inflightMap), m.FDs[0], r)
	if err != nil {
		return err
	}
	regions := append(slices.Clone(s.state.Regions), r.region(m.FDs[0], mp))
	maps := append(slices.Clone(s.maps), mp)
	if err := s.replaceMemory(regions, maps); err != nil {
		mp.unmap()
		return err
	}
	m.TakeFD(0)
	return nil
}

// remMemReg is REM_MEM_REG: "The message payload contains a memory region descriptor struct,
// describing a region of guest memory which the back-end device must unmap. For compatibility with
// existing incorrect implementations, the back-end MAY accept messages with one file descriptor",
// which is closed.
func (s *Session) remMemReg(m *Message) error {
	r := decodeSingleRegion(m.Payload)
	i := s.find(r)
	if i < 0 {
		return refuse("no memory region at %#x (user %#x) of size %#x", r.GuestAddr, r.UserAddr, r.Size)
	}
	if s.state.Regions[i].Adds > 1 {
		s.update(func(st *State) { st.Regions[i].Adds-- })
		return nil
	}
	gone, goneMap := s.state.Regions[i], s.maps[i]
	err := s.replaceMemory(
		slices.Delete(slices.Clone(s.state.Regions), i, i+1),
		slices.Delete(slices.Clone(s.maps), i, i+1))
	if err != nil {
		return err
	}
	goneMap.unmap()
	closeFD(gone.FD)
	return nil
}

// findFile returns the index of the region that is r in the file fd, or -1.
func (s *Session) findFile(r MemRegion, fd int) int {
	i := s.find(r)
	if i < 0 || s.state.Regions[i].MmapOffset != r.MmapOffset {
		return -1
	}
	if id, err := identify(fd); err != nil || id != s.maps[i].id {
		return -1
	}
	return i
}

// replaceMemory replaces the memory table. Rings continue with the new table, with their addresses
// translated again; a ring that is not in the new table is suspended until a table contains it
// again. On an error nothing has changed. When replaceMemory returns, mappings that are not in maps
// are not used any more.
func (s *Session) replaceMemory(regions []Region, maps []mapping) error {
	table, err := newMemory(regions, maps)
	if err != nil {
		return err
	}
	if s.logging() {
		if err := s.logFits(s.state.Log.Size, regions); err != nil {
			return fmt.Errorf("log: %w", err)
		}
	}
	for i, q := range s.queues {
		if q == nil {
			continue
		}
		if _, err := virtqueue.New(table, q.Config()); err != nil {
			s.log.Info("ring is suspended: its memory is gone", "ring", i, "reason", err)
			s.stopRing(i)
		}
	}
	s.quiesced(func() {
		for i, q := range s.queues {
			if q == nil {
				continue
			}
			if err := q.SetMemory(table); err != nil {
				// virtqueue.New succeeded a moment ago. The queue is marked broken.
				s.Fail(refuse("ring %d: %w", i, err))
			}
		}
		s.memory.Store(table)
		s.storeWatched(maps)
		s.maps = maps
		s.update(func(st *State) { st.Regions = regions })
	})
	s.startSuspended()
	return nil
}

// startSuspended starts the rings that should run and now can. Starting one may walk it from end to
// end, so a session that is ending starts no more of them.
func (s *Session) startSuspended() {
	if s.wantsLog() && s.dirty == nil {
		return
	}
	for i, v := range s.state.Vrings {
		if s.ending() {
			return
		}
		if !v.Started || s.queues[i] != nil {
			continue
		}
		q, err := s.newQueue(i)
		if err != nil {
			continue
		}
		if err := s.startRing(i, q); err != nil {
			s.Fail(refuse("ring %d: %w", i, err))
		}
	}
}

// newMemory makes a translation table of mapped regions. "[guest address, guest address +
// size) of one memory region never overlaps [that] of another memory region", and likewise
// for user addresses.
func newMemory(regions []Region, maps []mapping) (*virtqueue.Memory, error) {
	table := make([]virtqueue.Region, len(regions))
	for i, r := range regions {
		table[i] = virtqueue.Region{GuestAddr: r.GuestAddr, UserAddr: r.UserAddr, Mem: maps[i].mem}
	}
	mem, err := virtqueue.NewMemory(table)
	if err != nil {
		return nil, refuse("%w", err)
	}
	byUser := slices.SortedFunc(slices.Values(regions), func(a, b Region) int {
		return cmp.Compare(a.UserAddr, b.UserAddr)
	})
	for i := 1; i < len(byUser); i++ {
		if a, b := byUser[i-1], byUser[i]; b.UserAddr-a.UserAddr < a.Size {
			return nil, refuse("memory regions at user addresses %#x and %#x overlap", a.UserAddr, b.UserAddr)
		}
	}
	return mem, nil
}

// emptyMemory returns a table without regions.
func emptyMemory() *virtqueue.Memory {
	mem, err := virtqueue.NewMemory(nil)
	if err != nil {
		panic(err) // an empty table is always valid
	}
	return mem
}
