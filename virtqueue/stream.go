package virtqueue

import "io"

// A Reader reads the device-readable pieces of a chain one after another, as if they were one
// buffer. It implements io.Reader. Every byte is copied out of guest memory once: the bytes that
// have been read are private, and the driver cannot change them any more.
//
// A memory fault panics, as any access to guest memory does. A Reader is valid until the
// chain's Batch is reset.
type Reader struct{ cursor }

// Reader returns a Reader that begins at the first byte of the chain's Readable pieces. It does not
// change the chain.
func (c *Chain) Reader() Reader { return Reader{cursor{pieces: c.Readable}} }

// Read copies the next bytes to p, up to len(p) or the end of the chain. It returns io.EOF when
// nothing is left.
func (r *Reader) Read(p []byte) (n int, err error) {
	for n < len(p) {
		piece := r.piece()
		if len(piece) == 0 {
			break
		}
		k := copy(p[n:], piece)
		r.at += k
		n += k
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

// Skip skips n bytes, or as many as are left, without reading them, and returns the number
// of bytes skipped.
func (r *Reader) Skip(n int) (skipped int) {
	for skipped < n {
		piece := r.piece()
		if len(piece) == 0 {
			break
		}
		k := min(n-skipped, len(piece))
		r.at += k
		skipped += k
	}
	return skipped
}

// A Writer writes to the device-writable pieces of a chain one after another, as if they were one
// buffer. It implements io.Writer.
//
// A memory fault panics, as any access to guest memory does. A Writer is valid until the
// chain's Batch is reset.
type Writer struct {
	cursor
	written int
}

// Writer returns a Writer that begins at the first byte of the chain's Writable pieces. It does not
// change the chain.
func (c *Chain) Writer() Writer { return Writer{cursor: cursor{pieces: c.Writable}} }

// Written returns the number of bytes that have been written, which is the length to pass to
// [Queue.Complete].
func (w *Writer) Written() uint32 { return uint32(w.written) }

// Write copies p to the chain. If the chain has less room than len(p), Write fills the room and
// returns io.ErrShortWrite.
func (w *Writer) Write(p []byte) (n int, err error) {
	for n < len(p) {
		piece := w.piece()
		if len(piece) == 0 {
			return n, io.ErrShortWrite
		}
		k := copy(piece, p[n:])
		w.at += k
		w.written += k
		n += k
	}
	return n, nil
}

// A cursor is a place in a list of pieces.
type cursor struct {
	pieces [][]byte
	at     int // bytes of pieces[0] before the cursor
}

// Len returns the number of bytes from the cursor to the end.
func (c *cursor) Len() int { return Len(c.pieces) - c.at }

// piece returns the rest of the piece at the cursor, or an empty slice at the end.
func (c *cursor) piece() []byte {
	for len(c.pieces) > 0 {
		if rest := c.pieces[0][c.at:]; len(rest) > 0 {
			return rest
		}
		c.pieces, c.at = c.pieces[1:], 0
	}
	return nil
}
