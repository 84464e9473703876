package vhostuser

import (
	"context"

	"vswitchd/virtqueue"
)

// NewPaced returns a session that has a running ring and whose messages are limited by p; see Take.
func NewPaced(p *Pace) *Session {
	return &Session{limiter: p, slowed: true, queues: []*virtqueue.Queue{{}}}
}

// Take waits as the session does before it processes a message.
func (s *Session) Take(ctx context.Context, r Request) error {
	return s.pace(ctx, &Message{Header: Header{Request: r}})
}

// Mapped returns a region of guest memory as it is mapped here; regions are in the order of their
// guest addresses.
func (s *Session) Mapped(region int) []byte { return s.memory.Load().Regions()[region].Mem }

// Address returns where mem is.
func Address(mem []byte) uintptr { return address(mem) }
