// Package packetport is what kinds of port have in common that are made of an uplink.Uplink: how
// the uplink is connected to the switch and to the workers.
package packetport

import (
	"slices"

	"vswitchd/internal/control"
	"vswitchd/internal/handover"
	"vswitchd/internal/port"
	"vswitchd/internal/worker"
	vswitch "vswitchd/switch"
	"vswitchd/uplink"
)

// A Base is the part of a port that stays the same when one uplink replaces another. Its methods
// must not overlap, except that the functions of uplinks may run at any time between Begin and
// Close.
type Base struct {
	Env port.Env
	Log port.Log

	attachment *vswitch.Attachment // nil: Begin was not called
	inlet      *vswitch.Inlet
}

// Open opens an uplink. Of cfg, the logger and all functions are missing; Open adds these. The
// uplink may begin after Base.Begin.
func (b *Base) Open(cfg uplink.Config) (*uplink.Uplink, error) {
	cfg.Logger = b.Log
	cfg.Deliver = func(frames []vswitch.Frame) { b.inlet.Deliver(frames) }
	cfg.SetUp = func(up bool) { b.attachment.SetUp(up) }
	cfg.SetLocal = func(own, others []vswitch.MAC) error { return b.attachment.SetLocal(own, others) }
	cfg.Start = func(s worker.Source) {
		if err := b.Env.Workers.Add(s); err != nil {
			b.Log.Error("port cannot receive", "error", err)
		}
	}
	cfg.Stop = func(s worker.Source) { b.Env.Workers.Remove(s) }
	return uplink.Open(cfg)
}

// Freeze stops an uplink, and returns its state with the indices of files.
func Freeze(u *uplink.Uplink, w *handover.Writer) (saved uplink.Saved, thaw func()) {
	saved, thaw = u.Freeze()
	_ = saved.EachFD(func(fd *int) error { *fd = w.File(*fd); return nil })
	return saved, thaw
}

// Adopt is Open for an uplink that goes on for one that was frozen.
func (b *Base) Adopt(cfg uplink.Config, saved *uplink.Saved, r *handover.Reader) (*uplink.Uplink, error) {
	if err := saved.EachFD(func(fd *int) (err error) { *fd, err = r.Take(*fd); return err }); err != nil {
		return nil, err
	}
	cfg.Adopt = saved
	return b.Open(cfg)
}

// Begin connects the port to the switch.
func (b *Base) Begin(a *vswitch.Attachment) { b.attachment, b.inlet = a, a.NewInlet() }

// Begun reports whether Begin was called.
func (b *Base) Begun() bool { return b.attachment != nil }

// SetDown makes the switch send nothing to the port until the next uplink begins.
func (b *Base) SetDown() { b.attachment.SetUp(false) }

// Close disconnects a port from the switch, if it was connected. No uplink may be open.
func (b *Base) Close() {
	if b.Begun() {
		b.inlet.Close()
		b.attachment.Detach()
	}
}

// Count fills in the part of a port's statistics that comes from its uplink: the state, and the
// frames that the kernel has dropped at the socket. waiting are the states of the uplink in which
// the port waits for its interface; in others but StateUp, the port does not work.
func Count(stats *control.PortStats, st uplink.Status, waiting ...string) {
	switch {
	case st.State == uplink.StateUp:
		stats.State = control.StateRunning
	case slices.Contains(waiting, st.State):
		stats.State = control.StateWaiting
	default:
		stats.State = control.StateError
	}
	if st.KernelDrops > 0 {
		stats.Counters.Drops[uplink.DropKernelRing] = st.KernelDrops
	}
}
