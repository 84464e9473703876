package worker

import (
	"errors"
	"sync"
	"testing"
	"time"
)

// Workers that rest take sources, and do not poll them until they work again.
func TestRest(t *testing.T) {
	p := newPool(t, Config{Workers: 2, Poll: PollAlways})
	before, added := newFakeSource(t), newFakeSource(t)
	if err := p.Add(before); err != nil {
		t.Fatal(err)
	}
	until(t, "a poll", func() bool { return before.polls.Load() > 0 })
	if err := p.Rest(time.Minute); err != nil {
		t.Fatal(err)
	}
	polls := before.polls.Load()
	if err := p.Add(added); err != nil {
		t.Fatal(err)
	}
	p.Answer()
	if n := before.polls.Load(); n != polls || added.polls.Load() != 0 {
		t.Errorf("%d polls while at rest, and %d of the new source", n-polls, added.polls.Load())
	}
	p.Work()
	until(t, "work of both", func() bool { return before.polls.Load() > polls && added.polls.Load() > 0 })
}

// A worker that is stuck in a source's method makes Rest give up, and works afterwards.
func TestRestGivesUp(t *testing.T) {
	p := newPool(t, Config{Workers: 2})
	inside := make(chan struct{})
	s := &stuckSource{newFakeSource(t), sync.OnceFunc(func() { close(inside) }), make(chan struct{})}
	if err := p.Add(s); err != nil {
		t.Fatal(err)
	}
	<-inside
	if err := p.Rest(time.Millisecond); !errors.Is(err, ErrStuck) {
		t.Errorf("the error is %v", err)
	}
	close(s.release)
	other := newFakeSource(t)
	if err := p.Add(other); err != nil {
		t.Fatal(err)
	}
	until(t, "work of another source", func() bool { return other.polls.Load() > 0 })
}

// A pool that rests can be closed.
func TestCloseAtRest(t *testing.T) {
	p := newPool(t, Config{Workers: 2})
	if err := p.Rest(time.Minute); err != nil {
		t.Fatal(err)
	}
	p.Close()
}
