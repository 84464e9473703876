package vhostuser

import (
	"context"
	"fmt"
	"net"
)

// A Resumption is a session that has been taken over from another process (Session.Freeze), and
// has not touched anything of its front-end yet.
type Resumption struct {
	s     *Session
	opts  Options
	saved Saved
}

// Resume prepares to go on with a session: it maps the front-end's memory. It takes ownership of
// conn and of the file descriptors in saved, which Discard closes. After an error they are closed.
func Resume(conn *net.UnixConn, dev Device, opts Options, saved Saved) (*Resumption, error) {
	s, err := newSession(conn, dev, opts)
	if err != nil {
		closeSaved(&saved)
		return nil, err
	}
	r := &Resumption{s, opts, saved}
	if err := r.prepare(); err != nil {
		r.Discard()
		return nil, fmt.Errorf("going on with a session: %w", err)
	}
	return r, nil
}

func closeSaved(saved *Saved) {
	_ = saved.EachFD(func(fd *int) error { closeFD(*fd); return nil })
}

// prepare maps memory, and makes the state that of the session.
func (r *Resumption) prepare() error {
	s, saved := r.s, &r.saved
	if len(saved.Vrings) != len(s.state.Vrings) {
		return fmt.Errorf("the state has %d vrings, the device %d", len(saved.Vrings), len(s.state.Vrings))
	}
	for i, g := range saved.Regions {
		m, err := s.mapMemory(held(s.maps...), g.FD, MemRegion{
			GuestAddr: g.GuestAddr, UserAddr: g.UserAddr, Size: g.Size, MmapOffset: g.MmapOffset,
		})
		if err != nil {
			return fmt.Errorf("memory region %d: %w", i, err)
		}
		s.maps = append(s.maps, m)
	}
	table, err := newMemory(saved.Regions, s.maps)
	if err != nil {
		return err
	}
	if s.logMap, err = r.mapSaved(saved.Log.FD, saved.Log.Size, saved.Log.Offset); err != nil {
		return fmt.Errorf("log: %w", err)
	}
	if s.dirty, err = newDirtyLog(s.logMap); err != nil {
		return fmt.Errorf("log: %w", err)
	}
	if s.inflightMap, err = r.mapSaved(saved.Inflight.FD, saved.Inflight.Size, saved.Inflight.Offset); err != nil {
		return fmt.Errorf("memory for descriptors in flight: %w", err)
	}
	s.memory.Store(table)
	s.storeWatched(s.maps)
	s.setOtherMemory(s.logMap)
	s.state = saved.clone()
	for i := range s.state.Vrings {
		s.state.Vrings[i].Running = false
	}
	s.configPending = saved.ConfigPending
	s.progress.SetFeatures = saved.Features != 0
	return nil
}

// mapSaved maps a log, or memory for descriptors in flight, if there is one.
func (r *Resumption) mapSaved(fd int, size, offset uint64) (mapping, error) {
	if fd < 0 {
		return mapping{}, nil
	}
	return r.s.mapArea(held(r.s.maps...)+held(r.s.logMap), fd, MemRegion{Size: size, MmapOffset: offset})
}

// Discard gives up a session that does not go on here: everything is closed and unmapped, and
// nothing that the front-end can see has happened, provided that another process has the session.
func (r *Resumption) Discard() {
	s := r.s
	for _, m := range append(s.maps, s.logMap, s.inflightMap) {
		m.unmap()
	}
	if s.pages != nil {
		s.pages.close()
	}
	closeSaved(&r.saved)
	_ = s.conn.Close()
	s.end(nil)
	s.account.end()
}

// Serve goes on with the session, as the function Serve does with a new one. restore is called when
// the device knows the features, and no ring has started; running when all rings have.
func (r *Resumption) Serve(ctx context.Context, restore func() error, running func()) error {
	return r.s.serve(ctx, r.opts.Begun, func() error {
		defer running()
		return r.begin(restore)
	})
}

func (r *Resumption) begin(restore func() error) error {
	s := r.s
	if f := s.state.Features &^ (1 << FeatureLogAll); f != 0 {
		s.dev.FeaturesSet(f)
	}
	if err := restore(); err != nil {
		return err
	}
	s.recordOffer()
	if err := s.resumeChannel(r.saved.SendConfig, r.saved.SendCalls); err != nil {
		return err
	}
	if err := s.resumeRelays(); err != nil {
		return err
	}
	s.startSuspended()
	return nil
}

// resumeChannel opens the channel for requests to the front-end, if there was one.
func (s *Session) resumeChannel(config bool, calls []int) error {
	if s.state.BackendFD < 0 {
		return nil
	}
	c, err := newChannel(s.conn.blocking, s.state.BackendFD, s.negotiated(ProtocolFeatureReplyAck))
	if err != nil {
		return err
	}
	s.channel.Store(c)
	if config {
		c.configChanged()
	}
	for _, i := range calls {
		c.call(i)
	}
	return nil
}

// resumeRelays starts the relays of vrings whose eventfd for calls was made here, or by the process
// that had the session before.
func (s *Session) resumeRelays() (err error) {
	for i, v := range s.state.Vrings {
		switch {
		case v.Call < 0:
		case v.CallSocket >= 0:
			s.relays[i], err = relayFrom(v.Call, sendSignals(v.CallSocket))
		case !v.HasCall:
			s.relays[i], err = relayFrom(v.Call, s.callInband(i))
		}
		if err != nil {
			return err
		}
	}
	return nil
}
