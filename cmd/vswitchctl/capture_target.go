package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"
)

// A captureTarget is where a capture is written: to standard output, to a file, or to a series of
// files.
//
// A series is made by copying the blocks of the pcapng that vswitchd sends (pcapng, section 3.1):
// each file begins with the section header and all interfaces that there have been until then.
type captureTarget struct {
	path     string
	fileSize byteSize
	files    int // the newest ones that are kept; 0: all
}

func (t *captureTarget) flags(flags *pflag.FlagSet) {
	flags.StringVarP(&t.path, "write", "w", "-", "write to a `file`; -: to standard output")
	flags.VarP(&t.fileSize, "file-size", "C", "begin another file before a file exceeds this, such as 100MiB: FILE-00001 and so on")
	flags.IntVarP(&t.files, "files", "W", 0, "with --file-size: keep the last `N` files; 0: all")
}

func (t *captureTarget) check(out io.Writer, json bool) error {
	switch {
	case t.path == "":
		return errors.New("--write: the path is empty")
	case t.path == "-" && t.fileSize > 0:
		return errors.New("--file-size: standard output is one file; use --write")
	case t.path == "-" && json:
		return errors.New("--json: standard output is the capture; use --write")
	case t.path == "-" && isTerminal(out):
		return errors.New("standard output is a terminal; use --write FILE, or a pipe: | tcpdump -r - -n")
	case t.fileSize < 0 || t.files < 0 || t.files > 0 && t.fileSize == 0:
		return errors.New("--files: this needs --file-size")
	}
	return nil
}

func isTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && info.Mode()&os.ModeDevice != 0 && f.Name() != os.DevNull
}

// write writes everything, and returns the files that there are then.
func (t *captureTarget) write(out io.Writer, in io.Reader) (files []string, err error) {
	if t.path == "-" {
		_, err := io.Copy(out, in)
		return nil, err
	}
	if t.fileSize > 0 {
		s := &series{target: t}
		err := s.copy(in)
		return s.names, errors.Join(err, s.close())
	}
	f, err := os.Create(t.path)
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(f, in)
	return []string{t.path}, errors.Join(err, f.Close())
}

// A series is the files of a rotating capture.
type series struct {
	target *captureTarget
	names  []string
	next   int

	file    *os.File
	w       *bufio.Writer
	written int    // bytes in the file
	begin   []byte // section header and interfaces: what each file begins with
}

// Types of blocks (pcapng, section 10.1).
const (
	blockSection   = 0x0a0d0d0a
	blockInterface = 1
)

// maxBlock is the longest block that vswitchd writes, in bytes, and more.
const maxBlock = 1 << 20

// copy copies all blocks. Blocks that have been read are in the file when copy waits for more.
func (s *series) copy(in io.Reader) error {
	r := bufio.NewReaderSize(in, 64<<10)
	for {
		if r.Buffered() == 0 && s.w != nil {
			if err := s.w.Flush(); err != nil {
				return err
			}
		}
		block, err := readBlock(r)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := s.add(block); err != nil {
			return err
		}
	}
}

// readBlock reads a block. The error is io.EOF at the end.
func readBlock(r *bufio.Reader) ([]byte, error) {
	head, err := r.Peek(8)
	if len(head) == 0 {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("reading the capture: %w", err)
	}
	n := binary.LittleEndian.Uint32(head[4:])
	if n < 12 || n > maxBlock || n%4 != 0 {
		return nil, fmt.Errorf("reading the capture: a block of %d bytes", n)
	}
	block := make([]byte, n)
	if _, err := io.ReadFull(r, block); err != nil {
		return nil, fmt.Errorf("reading the capture: %w", err)
	}
	return block, nil
}

// add writes a block to the present file, or to another one.
func (s *series) add(block []byte) error {
	kind := binary.LittleEndian.Uint32(block)
	if kind == blockSection || kind == blockInterface {
		s.begin = append(s.begin, block...)
		if s.file == nil {
			return nil
		}
	} else if s.file == nil || s.written > len(s.begin) && s.written+len(block) > int(s.target.fileSize) {
		if err := s.rotate(); err != nil {
			return err
		}
	}
	s.written += len(block)
	_, err := s.w.Write(block)
	return err
}

// rotate begins another file, and removes the oldest one if there are too many.
func (s *series) rotate() error {
	if err := s.close(); err != nil {
		return err
	}
	s.next++
	ext := filepath.Ext(s.target.path)
	name := fmt.Sprintf("%s-%05d%s", strings.TrimSuffix(s.target.path, ext), s.next, ext)
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	s.file, s.w, s.written = f, bufio.NewWriterSize(f, 64<<10), len(s.begin)
	s.names = append(s.names, name)
	if n := s.target.files; n > 0 && len(s.names) > n {
		if err := os.Remove(s.names[0]); err != nil {
			return err
		}
		s.names = s.names[1:]
	}
	_, err = s.w.Write(s.begin)
	return err
}

func (s *series) close() error {
	if s.file == nil {
		return nil
	}
	err := errors.Join(s.w.Flush(), s.file.Close())
	s.file = nil
	return err
}
