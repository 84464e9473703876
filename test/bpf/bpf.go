// Package bpf loads small eBPF programs for tests, on the host and in guests.
package bpf

import (
	"golang.org/x/sys/unix"

	_ "vswitchd/internal/platform/linux"
)

// An Instruction is eBPF's (struct bpf_insn), for a processor that has the lower half of a byte
// first.
type Instruction struct {
	Code      uint8
	Registers uint8 // destination in the lower half, source in the upper one
	Offset    int16
	Immediate int32
}

// Codes of instructions.
const (
	Move = unix.BPF_ALU64 | unix.BPF_MOV | unix.BPF_K // destination = immediate
	Call = unix.BPF_JMP | unix.BPF_CALL               // the kernel's function with the number immediate
	Exit = unix.BPF_JMP | unix.BPF_EXIT               // return register 0
)
