package virtqueue_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"vswitchd/virtqueue"
)

// cut returns b in pieces of the given lengths, and a last piece with the rest.
func cut(b []byte, lengths ...int) (list [][]byte) {
	for _, n := range lengths {
		list = append(list, b[:n:n])
		b = b[n:]
	}
	return append(list, b)
}

func TestReader(t *testing.T) {
	want := []byte("header, and what is behind it")
	for _, cuts := range [][]int{{}, {0}, {1}, {7, 0, 3}, {1, 1, 1, 1, 1, 1}, {len(want)}} {
		c := virtqueue.Chain{Readable: cut(bytes.Clone(want), cuts...)}
		r := c.Reader()
		if err := iotest.TestReader(&r, want); err != nil {
			t.Errorf("pieces %v: %v", cuts, err)
		}
		r = c.Reader()
		head := make([]byte, 6)
		if _, err := io.ReadFull(&r, head); err != nil || string(head) != "header" {
			t.Errorf("pieces %v: %q, %v", cuts, head, err)
		}
		if n := r.Len(); n != len(want)-6 {
			t.Errorf("pieces %v: %d bytes are left", cuts, n)
		}
		if n := r.Skip(6); n != 6 {
			t.Errorf("pieces %v: skipped %d", cuts, n)
		}
		if rest, err := io.ReadAll(&r); err != nil || string(rest) != "what is behind it" {
			t.Errorf("pieces %v: %q, %v", cuts, rest, err)
		}
		if n := r.Skip(1); n != 0 {
			t.Errorf("pieces %v: skipped %d at the end", cuts, n)
		}
		if n := virtqueue.Len(c.Readable); n != len(want) {
			t.Errorf("pieces %v: the chain has %d bytes now", cuts, n)
		}
	}
}

func TestWriter(t *testing.T) {
	for _, cuts := range [][]int{{}, {0}, {1}, {7, 0, 3}, {1, 1, 1, 1, 1, 1}, {12}} {
		mem := make([]byte, 12)
		c := virtqueue.Chain{Writable: cut(mem, cuts...)}
		w := c.Writer()
		for _, part := range []string{"", "one", " ", "two"} {
			if n, err := io.WriteString(&w, part); n != len(part) || err != nil {
				t.Errorf("pieces %v: %d, %v", cuts, n, err)
			}
		}
		if w.Written() != 7 || w.Len() != 5 {
			t.Errorf("pieces %v: written %d, room for %d", cuts, w.Written(), w.Len())
		}
		if n, err := w.Write([]byte(" three")); n != 5 || !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("pieces %v: %d, %v", cuts, n, err)
		}
		if w.Written() != 12 || w.Len() != 0 || string(mem) != "one two thre" {
			t.Errorf("pieces %v: written %d, room for %d, %q", cuts, w.Written(), w.Len(), mem)
		}
	}
}

// A chain without pieces of one kind, like an invalid one.
func TestStreamsOfNothing(t *testing.T) {
	var c virtqueue.Chain
	r, w := c.Reader(), c.Writer()
	if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Error(n, err)
	}
	if n, err := w.Write([]byte{1}); n != 0 || err != io.ErrShortWrite || w.Written() != 0 {
		t.Error(n, err, w.Written())
	}
}
