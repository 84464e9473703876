package bpf

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Load loads a program of a type (unix.BPF_PROG_TYPE_*), and returns its descriptor, which is the
// caller's to close. The program stays as long as what it is attached to.
func Load(programType uint32, program []Instruction) (fd int, err error) {
	license := []byte("GPL\x00")
	// The beginning of union bpf_attr for BPF_PROG_LOAD. The kernel reads as much as it is told,
	// and what the pointers lead to lives until the call is over.
	attr := struct {
		programType, count    uint32
		instructions, license uint64
		rest                  [16]byte // no log, no flags
	}{
		programType:  programType,
		count:        uint32(len(program)),
		instructions: uint64(uintptr(unsafe.Pointer(unsafe.SliceData(program)))),
		license:      uint64(uintptr(unsafe.Pointer(unsafe.SliceData(license)))),
	}
	n, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr))
	runtime.KeepAlive(program)
	runtime.KeepAlive(license)
	if errno != 0 {
		return -1, os.NewSyscallError("bpf", errno)
	}
	return int(n), nil
}
