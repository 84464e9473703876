package handover

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"golang.org/x/sys/unix"
)

// A Writer collects what parts consist of besides their text. The zero value is ready for use.
type Writer struct {
	fds   []int
	needs map[string]bool
	blobs []int
}

// File adds a file descriptor, which stays the caller's, and has to be open until the document has
// been sent. It returns the descriptor's index, which takes its place in the document; -1 stays -1.
func (w *Writer) File(fd int) int {
	if fd < 0 {
		return -1
	}
	w.fds = append(w.fds, fd)
	return len(w.fds) - 1
}

// Blob adds bytes that are too many for a document, as a file, and returns its index.
func (w *Writer) Blob(name string, data []byte) (int, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("memory for the state: %w", err)
	}
	w.blobs = append(w.blobs, fd)
	for len(data) > 0 {
		n, err := unix.Write(fd, data)
		if err != nil {
			return -1, fmt.Errorf("memory for the state: %w", err)
		}
		data = data[n:]
	}
	return w.File(fd), nil
}

// Need adds a name to Document.MustUnderstand.
func (w *Writer) Need(name string) {
	if w.needs == nil {
		w.needs = make(map[string]bool)
	}
	w.needs[name] = true
}

// Needs returns all names that were added, sorted.
func (w *Writer) Needs() []string { return append([]string{}, slices.Sorted(maps.Keys(w.needs))...) }

// Files returns the descriptors in the order of their indices.
func (w *Writer) Files() []int { return w.fds }

// Part makes a part of the document.
func (w *Writer) Part(kind, name string, state any) (Part, error) {
	text, err := json.Marshal(state)
	if err != nil {
		return Part{}, fmt.Errorf("state of %s %s: %w", kind, name, err)
	}
	return Part{Kind: kind, Name: name, State: text}, nil
}

// Close closes the files of blobs.
func (w *Writer) Close() {
	for _, fd := range w.blobs {
		_ = unix.Close(fd)
	}
	w.blobs = nil
}

// A Reader has the file descriptors that came with a document.
type Reader struct{ fds []int }

// NewReader returns a Reader, which owns the descriptors.
func NewReader(fds []int) *Reader { return &Reader{fds} }

// Take returns the descriptor with an index in the document, which is the caller's from now on. -1
// stays -1.
func (r *Reader) Take(index int) (fd int, err error) {
	if index < 0 {
		return -1, nil
	}
	if index >= len(r.fds) || r.fds[index] < 0 {
		return -1, fmt.Errorf("%w: file %d of %d is missing", ErrNotUnderstood, index, len(r.fds))
	}
	fd, r.fds[index] = r.fds[index], -1
	return fd, nil
}

// Blob returns the bytes that Writer.Blob has added.
func (r *Reader) Blob(index int) ([]byte, error) {
	fd, err := r.Take(index)
	if err != nil || fd < 0 {
		return nil, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, fmt.Errorf("memory of the state: %w", err)
	}
	if st.Size > maxBlob {
		return nil, fmt.Errorf("%w: a file of %d bytes", ErrNotUnderstood, st.Size)
	}
	data := make([]byte, st.Size)
	for at := 0; at < len(data); {
		n, err := unix.Pread(fd, data[at:], int64(at))
		if err != nil || n == 0 {
			return nil, fmt.Errorf("memory of the state ends after %d bytes: %w", at, err)
		}
		at += n
	}
	return data, nil
}

// maxBlob limits what is read as a whole, in bytes.
const maxBlob = 1 << 30

// Close closes the descriptors that nobody has taken.
func (r *Reader) Close() {
	for _, fd := range r.fds {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
	r.fds = nil
}
