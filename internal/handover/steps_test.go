package handover

import (
	"bytes"
	"errors"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// A side is both an Old and a New, which fails at a step.
type side struct {
	fails  string
	files  int
	needs  string
	schema int // MinReader of the state; 0: that of this version

	did  []string
	blob []byte
	took int
}

var errTest = errors.New("it cannot be done")

func (s *side) do(step string) error {
	s.did = append(s.did, step)
	if s.fails == step {
		return errTest
	}
	return nil
}

func (s *side) document(w *Writer) *Document {
	if s.needs != "" {
		w.Need(s.needs)
	}
	return &Document{Schema: Schema, MinReader: max(s.schema, MinReader), MustUnderstand: w.Needs(), PID: os.Getpid()}
}

func (s *side) Offer(_ Hello, w *Writer) (*Document, error) { return s.document(w), s.do("offer") }

func (s *side) Freeze(w *Writer) (*Document, error) {
	if err := s.do("freeze"); err != nil {
		return nil, err
	}
	for range s.files {
		w.File(1)
	}
	file, err := w.Blob("test", []byte("a blob"))
	if err != nil {
		return nil, err
	}
	p, err := w.Part("blob", "", file)
	d := s.document(w)
	d.Parts = append(d.Parts, p)
	return d, err
}

func (s *side) Thaw() { s.did = append(s.did, "thaw") }

func (s *side) Prepare(*Document, *Reader) error { return s.do("prepare") }

func (s *side) Adopt(d *Document, r *Reader) (err error) {
	for i := range s.files {
		fd, err := r.Take(i)
		if err != nil {
			return err
		}
		_ = unix.Close(fd)
		s.took++
	}
	if s.blob, err = r.Blob(s.files); err != nil {
		return err
	}
	if _, err := r.Take(s.files); !errors.Is(err, ErrNotUnderstood) {
		return errors.New("a file was taken twice")
	}
	return s.do("adopt")
}

// exchange has one side hand over to the other.
func exchange(t *testing.T, old, next *side) (yield, take error) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]*net.UnixConn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		c, err := net.FileConn(f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
		ends[i] = c.(*net.UnixConn)
	}
	done := make(chan error)
	go func() { done <- Yield(ends[0], old) }()
	take = Take(ends[1], Hello{Schema: Schema, Version: "test", Understood: []string{"known"}}, next)
	return <-done, take
}

// Everything is passed, also more files than fit into one message of the kernel.
func TestHandOver(t *testing.T) {
	old, next := &side{files: 600, needs: "known"}, &side{files: 600}
	yield, take := exchange(t, old, next)
	if yield != nil || take != nil {
		t.Fatalf("%v, %v", yield, take)
	}
	if next.took != 600 || !bytes.Equal(next.blob, []byte("a blob")) {
		t.Errorf("%d files, %q", next.took, next.blob)
	}
}

// Whoever cannot go on, and wherever, the old process goes on, and the other side knows why.
func TestEitherSideRefuses(t *testing.T) {
	for _, c := range []struct {
		name      string
		old, next side
		frozen    bool
	}{
		{"offer", side{fails: "offer"}, side{}, false},
		{"prepare", side{}, side{fails: "prepare"}, false},
		{"freeze", side{fails: "freeze"}, side{}, false},
		{"adopt", side{}, side{fails: "adopt"}, true},
		{"a name that is not known", side{needs: "unheard-of"}, side{}, false},
		{"a later schema", side{schema: Schema + 1}, side{}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			yield, take := exchange(t, &c.old, &c.next)
			if yield == nil || take == nil {
				t.Fatalf("%v, %v", yield, take)
			}
			if c.old.fails+c.next.fails != "" && (!bytes.Contains([]byte(yield.Error()), []byte(errTest.Error())) ||
				!bytes.Contains([]byte(take.Error()), []byte(errTest.Error()))) {
				t.Errorf("%v, %v", yield, take)
			}
			last := c.old.did[len(c.old.did)-1]
			if thawed := last == "thaw"; thawed != c.frozen {
				t.Errorf("the old side did %q", c.old.did)
			}
		})
	}
}
