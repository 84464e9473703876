package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"

	"vswitchd/internal/control"
)

// compileFilter compiles an expression in tcpdump's syntax, with the installed tcpdump, to a
// program of the classic BPF for Ethernet: no compiler in pure Go compiles all expressions rightly.
// An empty expression has no program.
func compileFilter(ctx context.Context, expression string) (program control.List[[4]uint32], err error) {
	if strings.TrimSpace(expression) == "" {
		return nil, nil
	}
	tcpdump := exec.CommandContext(ctx, "tcpdump", "-ddd", "-y", "EN10MB", "--", expression)
	var complaints bytes.Buffer
	tcpdump.Stderr = &complaints
	out, err := tcpdump.Output()
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return nil, errors.New("filters are compiled by tcpdump, which is not installed here; without a filter, capture works")
	case err != nil && complaints.Len() > 0:
		return nil, fmt.Errorf("filter %q: %s%s", expression, lastLine(complaints.String()), portsHint(expression))
	case err != nil:
		return nil, fmt.Errorf("filter %q: tcpdump: %w", expression, err)
	}
	if program, err = parseProgram(string(out)); err != nil {
		return nil, fmt.Errorf("filter %q: cannot read what tcpdump writes: %w", expression, err)
	}
	return program, nil
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}

// portsHint helps with "capture vm1 vm2".
func portsHint(expression string) string {
	if strings.ContainsRune(expression, ' ') {
		return ""
	}
	return "; several ports are separated by commas"
}

// parseProgram parses what tcpdump -ddd writes: the number of instructions, and one in each line.
func parseProgram(text string) (program control.List[[4]uint32], err error) {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if n, err := strconv.Atoi(lines[0]); err != nil || n != len(lines)-1 {
		return nil, fmt.Errorf("%q is not the number of the %d lines that follow", lines[0], len(lines)-1)
	}
	for _, line := range lines[1:] {
		fields := strings.Fields(line)
		if len(fields) != 4 {
			return nil, fmt.Errorf("%q is no instruction", line)
		}
		var ins [4]uint32
		for i, f := range fields {
			n, err := strconv.ParseUint(f, 10, 32)
			if err != nil {
				return nil, fmt.Errorf("%q is no instruction: %w", line, err)
			}
			ins[i] = uint32(n)
		}
		program = append(program, ins)
	}
	return program, nil
}
