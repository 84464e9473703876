// Command umlexec becomes another program, User Mode Linux, in a way that has that work on any
// processor:
//
//	umlexec PROGRAM ARGUMENT...
//
// User Mode Linux 6.1 reads and writes the processor state of its guest's programs
// (PTRACE_GETREGSET and SETREGSET of NT_X86_XSTATE) with a buffer that is too short for processors
// with AVX-512. A filter for system calls answers these requests as a kernel does that does not
// know them, so that it takes the older ones, which save the state of SSE and no more. The guest's
// programs must not use AVX then, on any processor; package vm tells them so.
package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	_ "vswitchd/internal/platform/linux"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "umlexec:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("which program?")
	}
	runtime.LockOSThread() // the filter is the thread's that becomes the program
	if err := filter(); err != nil {
		return fmt.Errorf("filter system calls: %w", err)
	}
	return syscall.Exec(args[0], args, os.Environ())
}

const ntX86XState = 0x202 // NT_X86_XSTATE of <linux/elf.h>

// Offsets in struct seccomp_data, of the lower halves of the arguments.
const (
	offNumber  = 0
	offRequest = 16 // of ptrace: its first argument
	offRegset  = 32 // its third
)

// filter has this thread's ptrace requests for the extended processor state fail with ENODEV.
func filter() error {
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	// unless goes on if the value loaded is k, and skips the given number of instructions else.
	unless := func(k uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jf: skip}
	}
	program := []unix.SockFilter{
		load(offNumber), unless(unix.SYS_PTRACE, 6),
		load(offRegset), unless(ntX86XState, 4),
		load(offRequest),
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.PTRACE_GETREGSET, Jt: 1},
		unless(unix.PTRACE_SETREGSET, 1),
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENODEV)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	return install(program)
}
