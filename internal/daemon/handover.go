package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"vswitchd/internal/control"
	"vswitchd/internal/handover"
	"vswitchd/internal/port"
	"vswitchd/internal/port/guest"
	"vswitchd/internal/version"
	vswitch "vswitchd/switch"
)

// This file describes the daemon for another process, and hands the daemon over to it; takeover.go
// is the other side.

// The kinds of parts in a document, besides partPort.
const (
	partPort   = "port"
	partSwitch = "switch"
	partFDB    = "fdb"
)

// A portPart is the part of a port in a document.
type portPart struct {
	Kind     string                `json:"kind"`
	Counters vswitch.SavedCounters `json:"counters"`
	Since    int64                 `json:"since"` // since when they count, in nanoseconds since 1970
	State    json.RawMessage       `json:"state"` // what the kind of port says
}

// A switchPart is the part of the switch.
type switchPart struct {
	Groups []vswitch.StaticGroup `json:"groups"`
	Sets   []vswitch.SetConfig   `json:"sets"`
}

// An fdbPart has the entries of the FDB in a file.
type fdbPart struct {
	Entries int `json:"entries"`
	File    int `json:"file"`
}

// A savedEntry is an entry of the FDB.
type savedEntry struct {
	control.FDBEntry
	Pinned bool `json:"pinned,omitempty"`
}

// writeFDB returns entries in the format of the file of an fdbPart.
func writeFDB(entries []vswitch.FDBEntry) ([]byte, error) {
	list := make([]savedEntry, len(entries))
	for i := range entries {
		list[i] = savedEntry{fdbEntry(&entries[i]), entries[i].Pinned}
	}
	return json.Marshal(list)
}

// Times for which a hand-over waits.
const (
	restTime   = 100 * time.Millisecond // for the workers
	freezeTime = 100 * time.Millisecond // for each port
)

// errNoHandover is wrapped by the reasons why a daemon cannot be handed over.
var errNoHandover = errors.New("cannot be handed over to another process")

// A Handover hands a daemon over. It implements the part of handover.Old that is about the daemon.
type Handover struct {
	d    *Daemon
	thaw []func()
}

// BeginHandover keeps the configuration from being changed until End, and returns the reasons why
// the daemon cannot be handed over.
func (d *Daemon) BeginHandover() (*Handover, error) {
	select {
	case d.reloading <- struct{}{}:
	case <-d.life.Done():
		return nil, errStopped
	}
	h := &Handover{d: d}
	if err := h.check(); err != nil {
		h.End()
		return nil, err
	}
	return h, nil
}

// End lets the configuration be changed again. The daemon is not frozen.
func (h *Handover) End() { <-h.d.reloading }

// check returns the reasons why ports cannot be handed over.
func (h *Handover) check() error {
	var errs []error
	for _, m := range h.d.snapshot() {
		mover, ok := m.port.(port.Mover)
		err := errors.New("ports of kind " + m.cfg.Kind.Name + " are not handed over yet")
		if ok {
			err = mover.Movable()
		}
		if m.att.Info().Loop != nil {
			err = errors.New("the port is blocked because of a loop")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("port %s %w: %w", m.cfg.Name, errNoHandover, err))
		}
	}
	return errors.Join(errs...)
}

// FDB returns the part with the entries of the FDB. The daemon need not be frozen: entries that are
// learned afterwards are learned again.
func (h *Handover) FDB(w *handover.Writer) (handover.Part, error) {
	entries := h.d.sw.FDB("", vswitch.AnyVLAN)
	text, err := writeFDB(entries)
	if err != nil {
		return handover.Part{}, fmt.Errorf("FDB: %w", err)
	}
	file, err := w.Blob("fdb", text)
	if err != nil {
		return handover.Part{}, fmt.Errorf("FDB: %w", err)
	}
	return w.Part(partFDB, "", fdbPart{len(entries), file})
}

// Freeze stops everything that the daemon does with what is handed over, and returns the parts of
// the ports and of the switch. After an error nothing is stopped.
func (h *Handover) Freeze(w *handover.Writer) (parts []handover.Part, err error) {
	if err := h.d.pool.Rest(restTime); err != nil {
		return nil, err
	}
	h.thaw = []func(){h.d.pool.Work}
	defer func() {
		if err != nil {
			h.Thaw()
		}
	}()
	frozen, err := h.d.freezePorts(w)
	for _, f := range frozen {
		h.thaw = append(h.thaw, f.thaw)
	}
	if err != nil {
		return nil, err
	}
	return h.d.parts(w, frozen)
}

// Thaw undoes Freeze: ports first, so that workers find them as they were.
func (h *Handover) Thaw() {
	for i := range h.thaw {
		h.thaw[len(h.thaw)-1-i]()
	}
	h.thaw = nil
}

// A frozenPort is a port that has been stopped, with its state.
type frozenPort struct {
	m     *member
	state any
	thaw  func()
}

// freezePorts stops all ports. After an error some of them are stopped, which are returned.
func (d *Daemon) freezePorts(w *handover.Writer) (frozen []frozenPort, err error) {
	for _, m := range d.snapshot() {
		state, thaw, err := m.port.(port.Mover).Freeze(w, freezeTime)
		if err != nil {
			return frozen, fmt.Errorf("port %s: %w", m.cfg.Name, err)
		}
		frozen = append(frozen, frozenPort{m, state, thaw})
	}
	return frozen, nil
}

// parts describes ports, and the switch.
func (d *Daemon) parts(w *handover.Writer, ports []frozenPort) ([]handover.Part, error) {
	sw, err := w.Part(partSwitch, "", switchPart{Groups: d.sw.Groups(), Sets: d.sw.Sets()})
	if err != nil {
		return nil, err
	}
	parts := []handover.Part{sw}
	for _, f := range ports {
		state, err := json.Marshal(f.state)
		if err != nil {
			return nil, fmt.Errorf("port %s: %w", f.m.cfg.Name, err)
		}
		p, err := w.Part(partPort, f.m.cfg.Name, portPart{
			Kind: f.m.cfg.Kind.Name, Counters: f.m.counters.Save(), Since: f.m.since.UnixNano(), State: state,
		})
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	return parts, nil
}

// Understood returns the names that documents may have in must_understand.
func Understood() []string { return guest.Understood() }

// State returns what would be handed over now, for people: the indices of files have no meaning.
// Each port is stopped for some microseconds, one after the other.
func (d *Daemon) State() (*handover.Document, error) {
	h := &Handover{d: d}
	var w handover.Writer
	defer w.Close()
	var ports []frozenPort
	for _, m := range d.snapshot() {
		mover, ok := m.port.(port.Mover)
		if !ok {
			continue
		}
		state, thaw, err := mover.Freeze(&w, freezeTime)
		if err != nil {
			return nil, fmt.Errorf("port %s: %w", m.cfg.Name, err)
		}
		thaw()
		ports = append(ports, frozenPort{m, state, nil})
	}
	parts, err := d.parts(&w, ports)
	if err != nil {
		return nil, err
	}
	fdb, err := h.FDB(&w)
	if err != nil {
		return nil, err
	}
	return NewDocument(append(parts, fdb), &w), nil
}

// NewDocument returns a document of this version with the given parts.
func NewDocument(parts []handover.Part, w *handover.Writer) *handover.Document {
	return &handover.Document{
		Schema: handover.Schema, MinReader: handover.MinReader, MustUnderstand: w.Needs(),
		Version: version.String(), PID: os.Getpid(), Parts: parts,
	}
}
