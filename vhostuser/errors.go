package vhostuser

import (
	"errors"
	"fmt"
)

// Reasons for the end of a session, as far as callers may want to distinguish them. Serve returns
// them wrapped, except ErrDisconnected and ErrDied.
var (
	// ErrDisconnected: the front-end closed the connection between two messages, as it does
	// when it exits. This is not a failure.
	ErrDisconnected = errors.New("front-end disconnected")

	// ErrDied is ErrDisconnected for a front-end that had a ring started and enabled. A
	// front-end that exits in an orderly way stops or disables its rings first; one that
	// crashes, or is killed, cannot.
	ErrDied = fmt.Errorf("%w while its rings were running", ErrDisconnected)

	// ErrTruncated: the connection ended within a message.
	ErrTruncated = errors.New("front-end disconnected within a message")

	// ErrMalformed: a message does not have the format that the specification demands.
	ErrMalformed = errors.New("malformed message")

	// ErrUnknownMessage: a message's type is not in the specification.
	ErrUnknownMessage = errors.New("unknown message")

	// ErrNotNegotiated: a message needs a feature that was not negotiated.
	ErrNotNegotiated = errors.New("feature not negotiated")

	// ErrRefused: a message was understood, but what it asks for is impossible or not allowed.
	ErrRefused = errors.New("refused")

	// ErrJammed: the counter of an eventfd is full, so that a signal may block until the
	// front-end reads the counter.
	ErrJammed = errors.New("eventfd is jammed")
)

// A ProtocolError names the message that ended a session. Err wraps one of the errors above or one
// of the operating system's.
type ProtocolError struct {
	Request Request
	Err     error
}

func (e *ProtocolError) Error() string { return fmt.Sprintf("%v: %v", e.Request, e.Err) }

func (e *ProtocolError) Unwrap() error { return e.Err }

// refuse makes an error that wraps ErrRefused.
func refuse(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrRefused, fmt.Errorf(format, args...))
}
