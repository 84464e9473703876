package capture

import (
	"errors"
	"fmt"

	"golang.org/x/net/bpf"

	vswitch "vswitchd/switch"
)

// MaxInstructions is the most instructions of a filter, as in Linux (BPF_MAXINSNS). A program has
// no loops, so this bounds its time as well.
const MaxInstructions = 4096

// ErrBadFilter is wrapped by the errors about a filter's program.
var ErrBadFilter = errors.New("bad filter program")

// A Filter selects frames by a program of the classic BPF for Ethernet (DLT_EN10MB), as "tcpdump
// -ddd -y EN10MB" writes it. A program selects a frame by returning a number other than 0. It is
// immutable.
type Filter struct {
	vm    *bpf.VM
	reach int // the program reads no byte of a frame from here on
}

// NewFilter checks a program. It refuses what bpf.VM cannot execute: extensions of Linux, and
// instructions that filters of tcpdump rarely have (negation).
func NewFilter(program []bpf.RawInstruction) (*Filter, error) {
	if len(program) > MaxInstructions {
		return nil, fmt.Errorf("%w: it has %d instructions, at most %d are possible", ErrBadFilter, len(program), MaxInstructions)
	}
	list, known := bpf.Disassemble(program)
	if !known {
		for i, ins := range list {
			if raw, ok := ins.(bpf.RawInstruction); ok {
				return nil, fmt.Errorf("%w: instruction %d (code %#x) is not known", ErrBadFilter, i, raw.Op)
			}
		}
	}
	for i, ins := range list {
		if _, ok := ins.(bpf.NegateA); ok { // bpf.VM has no such operation
			return nil, fmt.Errorf("%w: instruction %d is a negation, which is not supported", ErrBadFilter, i)
		}
	}
	vm, err := bpf.NewVM(list)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadFilter, err)
	}
	return &Filter{vm: vm, reach: reach(list)}, nil
}

// reach returns how many bytes at the beginning of a frame a program reads at most.
func reach(list []bpf.Instruction) int {
	index := 0 // the highest value of X, as far as that is known
	for _, ins := range list {
		switch ins := ins.(type) {
		case bpf.LoadMemShift:
			index = max(index, 4*0xf)
		case bpf.LoadConstant:
			if ins.Dst == bpf.RegX {
				index = max(index, int(ins.Val))
			}
		case bpf.TAX:
			return vswitch.MaxFrameLen
		case bpf.LoadScratch:
			if ins.Dst == bpf.RegX {
				return vswitch.MaxFrameLen
			}
		}
	}
	far := 0
	for _, ins := range list {
		switch ins := ins.(type) {
		case bpf.LoadAbsolute:
			far = max(far, int(ins.Off)+ins.Size)
		case bpf.LoadIndirect:
			far = max(far, index+int(ins.Off)+ins.Size)
		case bpf.LoadMemShift:
			far = max(far, int(ins.Off)+1)
		}
	}
	return min(far, vswitch.MaxFrameLen)
}

// selects reports whether the program selects a frame. readable is false if the frame could not be
// read. A program that looks at the frame's length sees the whole length, however little of the
// frame has been read.
func (f *Filter) selects(fr *vswitch.Frame, scratch *[vswitch.MaxFrameLen]byte) (selected, readable bool) {
	whole := fr.Head
	if len(whole) < fr.Len {
		n := min(f.reach, fr.Len)
		if read(scratch[:n], fr) < n {
			return false, false
		}
		whole = scratch[:fr.Len]
	}
	n, err := f.vm.Run(whole)
	return err == nil && n != 0, true
}
