package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"vswitchd/internal/daemon"
	"vswitchd/internal/handover"
	"vswitchd/internal/unixsock"
)

// This file hands everything over to another vswitchd; takeover.go is the other side.

// The kind of the parts that are listeners, and their names.
const (
	partListener = "listener"
	nameControl  = "control"
	nameMetrics  = "metrics"
	nameStatus   = "status"
)

// A listenerPart is the part of a listener in a document.
type listenerPart struct{ unixsock.Handle }

// changesTime is how long a hand-over waits for requests that change something.
const changesTime = time.Second

// An old is one hand-over. It implements handover.Old.
type old struct {
	s        *service
	daemon   *daemon.Handover
	released []func() // what Offer has begun
	frozen   int64    // when everything stopped, by handover.Now
}

// handOver hands everything over to the process at the other end of uc, and ends this process.
func (s *service) handOver(uc *net.UnixConn) {
	o := &old{s: s}
	s.log.Info("another process wants to take over")
	err := handover.Yield(uc, o)
	if err != nil {
		for _, release := range o.released {
			release()
		}
		s.log.Warn("the other process does not take over, all goes on here", "reason", err)
		return
	}
	// From here on, nothing may be touched that guests or the network can notice.
	s.log.Info("handed over")
	unixsock.Disown(s.control.Listener)
	s.d.EndCaptures()
	s.stopServing()
	<-s.served
	os.Exit(exitOK)
}

// Offer implements handover.Old.
func (o *old) Offer(_ handover.Hello, w *handover.Writer) (*handover.Document, error) {
	var err error
	if o.daemon, err = o.s.d.BeginHandover(); err != nil {
		return nil, err
	}
	o.released = append(o.released, o.daemon.End)
	release, err := o.s.api.HoldChanges(changesTime)
	if err != nil {
		return nil, err
	}
	o.released = append(o.released, release)
	fdb, err := o.daemon.FDB(w)
	if err != nil {
		return nil, err
	}
	doc := daemon.NewDocument([]handover.Part{fdb}, w)
	doc.Configuration, doc.File = o.s.config.Text(), o.s.opts.file
	return doc, nil
}

// Freeze implements handover.Old.
func (o *old) Freeze(w *handover.Writer) (*handover.Document, error) {
	o.frozen = handover.Now()
	if err := o.accept(false); err != nil {
		return nil, err
	}
	parts, err := o.daemon.Freeze(w)
	if err == nil {
		parts, err = o.s.listenerParts(w, parts)
		if err != nil {
			o.daemon.Thaw()
		}
	}
	if err != nil {
		return nil, errors.Join(err, o.accept(true))
	}
	doc := daemon.NewDocument(parts, w)
	doc.Frozen = o.frozen
	return doc, nil
}

// Thaw implements handover.Old.
func (o *old) Thaw() {
	o.daemon.Thaw()
	if err := o.accept(true); err != nil {
		o.s.log.Error("clients may not be served any more", "error", err)
	}
}

// accept makes the servers accept connections, or stop doing so: those that wait are for the other
// process.
func (o *old) accept(on bool) (err error) {
	at := time.Unix(1, 0)
	if on {
		at = time.Time{}
	}
	for _, l := range []optional{o.s.control, o.s.metrics, o.s.status} {
		if d, ok := l.Listener.(interface{ SetDeadline(time.Time) error }); ok {
			err = errors.Join(err, d.SetDeadline(at))
		}
	}
	return err
}

// listenerParts adds the parts of the listeners.
func (s *service) listenerParts(w *handover.Writer, parts []handover.Part) ([]handover.Part, error) {
	for _, l := range []struct {
		name string
		optional
	}{{nameControl, s.control}, {nameMetrics, s.metrics}, {nameStatus, s.status}} {
		if l.Listener == nil {
			continue
		}
		h, err := handleOf(l.Listener)
		if err != nil {
			return nil, fmt.Errorf("listener for %s: %w", l.name, err)
		}
		h.FD = w.File(h.FD)
		p, err := w.Part(partListener, l.name, listenerPart{h})
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	return parts, nil
}

func handleOf(l net.Listener) (h unixsock.Handle, err error) {
	if h, ok := unixsock.HandleOf(l); ok {
		return h, nil
	}
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { h.FD = int(fd) })
	}
	return h, err
}
