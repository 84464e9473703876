package vhostuser

import (
	"errors"
	"fmt"
	"math"

	"golang.org/x/sys/unix"
)

// mapping is a mapped region of guest memory.
type mapping struct {
	mem []byte // the region's bytes
	all []byte // the whole mapping: mem and what page alignment adds around it
	id  fileID

	pageSize uint64 // of the file, in bytes

	account *Account // charged for all

	pages *watchedPages // huge pages that are watched; nil: the kernel provides absent ones
}

// fileID identifies a file, whichever file descriptor refers to it.
type fileID struct {
	dev, ino uint64
}

// pageSize is the smallest unit, in bytes, in which a file can be mapped.
const pageSize = 4096

// fsMagicZFS is not in package unix.
const fsMagicZFS = 0x2fc12fc1

// memoryFS lists the file systems in which files of guest memory may be, and whether they are on a
// disk. A page fault in the mapping of a file waits for the file's file system: a file system that
// is served by a user's process or over a network could make us wait forever; a disk makes a worker
// wait, and with it the garbage collector and all guests that the worker serves.
var memoryFS = map[uint32]struct{ disk bool }{
	unix.TMPFS_MAGIC:       {}, // memfd and /dev/shm
	unix.HUGETLBFS_MAGIC:   {},
	unix.RAMFS_MAGIC:       {},
	unix.EXT4_SUPER_MAGIC:  {disk: true},
	unix.XFS_SUPER_MAGIC:   {disk: true},
	unix.BTRFS_SUPER_MAGIC: {disk: true},
	fsMagicZFS:             {disk: true},
}

// checkRegion verifies the numbers of a single region.
func checkRegion(r MemRegion) error {
	switch {
	case r.Size == 0:
		return refuse("a memory region of size 0")
	case r.GuestAddr > math.MaxUint64-r.Size || r.UserAddr > math.MaxUint64-r.Size:
		return refuse("memory region at %#x (user %#x) of size %#x wraps around the address space", r.GuestAddr, r.UserAddr, r.Size)
	case r.MmapOffset > math.MaxInt64 || r.Size > math.MaxInt64-r.MmapOffset:
		return refuse("memory region of size %#x at offset %#x is beyond any file", r.Size, r.MmapOffset)
	}
	return nil
}

// identify returns the identity of the file that fd refers to.
func identify(fd int) (fileID, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fileID{}, fmt.Errorf("memory file: %w", err)
	}
	return fileID{st.Dev, st.Ino}, nil
}

// mapRegion maps a region of the file fd, which has to contain all of it: access beyond a file's
// end raises SIGBUS. (The front-end may still truncate the file later.)
//
// The mapping is shared and reserves no swap; core dumps leave it out. It is charged to the
// account, whose front-end already has mappings of held bytes that stay.
func mapRegion(a *Account, held uint64, fd int, r MemRegion) (mapping, error) {
	if err := checkRegion(r); err != nil {
		return mapping{}, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return mapping{}, fmt.Errorf("memory file: %w", err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return mapping{}, refuse("guest memory is not a regular file (mode %#o)", st.Mode)
	}
	if uint64(st.Size) < r.MmapOffset+r.Size {
		return mapping{}, refuse("memory file has %#x bytes, the region ends at %#x", st.Size, r.MmapOffset+r.Size)
	}
	align, err := mapAlignment(a, fd, &st)
	if err != nil {
		return mapping{}, err
	}

	// "mmap offset: offset where region starts in the mapped memory" need not be a multiple of
	// the page size. With huge pages, munmap needs a length in whole huge pages.
	slack := r.MmapOffset % align
	length := slack + r.Size
	if rest := length % align; rest != 0 {
		length += align - rest
	}
	if length > math.MaxInt64 || length < r.Size {
		return mapping{}, refuse("memory region of size %#x is too large", r.Size)
	}
	if err := a.takeMapping(length, held); err != nil {
		return mapping{}, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	all, err := unix.Mmap(fd, int64(r.MmapOffset-slack), int(length),
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_NORESERVE)
	if err != nil {
		a.releaseMapping(length)
		return mapping{}, fmt.Errorf("mapping %#x bytes of guest memory: %w", length, err)
	}
	// Failure to exclude the mapping from core dumps is no reason to refuse.
	_ = unix.Madvise(all, unix.MADV_DONTDUMP)
	return mapping{
		mem: all[slack : slack+r.Size : slack+r.Size],
		all: all,
		id:  fileID{st.Dev, st.Ino},

		pageSize: align,
		account:  a,
	}, nil
}

// isLocal verifies that only the kernel serves a file system.
func isLocal(fs *unix.Statfs_t) error {
	if _, known := memoryFS[uint32(fs.Type)]; !known {
		return refuse("guest memory in a file system of type %#x, which is not known to be local", fs.Type)
	}
	return nil
}

// mapAlignment returns the number of bytes that offset and length of a mapping of the file must be
// multiples of, and refuses files that must not be mapped.
func mapAlignment(a *Account, fd int, st *unix.Stat_t) (uint64, error) {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return 0, fmt.Errorf("memory file: %w", err)
	}
	if err := isLocal(&fs); err != nil {
		return 0, err
	}
	if memoryFS[uint32(fs.Type)].disk {
		if err := a.checkDisk(); err != nil {
			return 0, err
		}
	}
	if uint32(fs.Type) != unix.HUGETLBFS_MAGIC {
		return pageSize, nil
	}
	// hugetlbfs reports its page size as the preferred block size.
	if st.Blksize < pageSize || st.Blksize&(st.Blksize-1) != 0 {
		return 0, errors.New("hugetlbfs reports an invalid page size")
	}
	return uint64(st.Blksize), nil
}

// unmap undoes mapRegion.
func (m mapping) unmap() {
	if m.pages != nil {
		m.pages.close()
	}
	if m.all != nil {
		_ = unix.Munmap(m.all)
		m.account.releaseMapping(uint64(len(m.all)))
	}
}

// length returns the address space that the mapping takes, in bytes.
func (m mapping) length() uint64 { return uint64(len(m.all)) }

// held returns the address space that mappings take together, in bytes.
func held(maps ...mapping) (sum uint64) {
	for _, m := range maps {
		sum += m.length()
	}
	return sum
}
