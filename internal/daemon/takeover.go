package daemon

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"time"

	"github.com/hashicorp/go-hclog"

	"vswitchd/internal/config"
	"vswitchd/internal/handover"
	"vswitchd/internal/port"
	vswitch "vswitchd/switch"
)

// This file takes over from a daemon in another process. A takeover is a start whose ports adopt
// what the other process has open, and that waits before its switch gets the ports.

// A Takeover is a daemon that is going to take over.
type Takeover struct {
	d      *Daemon
	change *change
	fdb    []vswitch.FDBEntry // as Prepare has read it
	from   *inheritance
}

// An inheritance is what another process has handed over.
type inheritance struct {
	d     *Daemon
	ports map[string]*portPart // by name; those that are not adopted yet
	since map[*vswitch.Counters]time.Time
	sw    switchPart
	fdb   []vswitch.FDBEntry
	files *handover.Reader
}

// BeginTakeover makes everything that does not depend on the other process having stopped. cfg is
// the configuration that runs there.
func BeginTakeover(cfg *config.Config, log hclog.Logger) (*Takeover, error) {
	d, err := allKinds().emptyDaemon(cfg, log)
	if err != nil {
		return nil, err
	}
	// No source is polled before all ports are there again.
	err = d.pool.Rest(prepareTime)
	t := &Takeover{d: d, change: d.compare(d.cfg, cfg, false)}
	if err == nil {
		err = t.change.check()
	}
	if err != nil {
		d.close()
		return nil, err
	}
	return t, nil
}

// prepareTime is how long it may take before the workers of a new daemon rest.
const prepareTime = 10 * time.Second

// Prepare reads what may be a little out of date.
func (t *Takeover) Prepare(doc *handover.Document, r *handover.Reader) error {
	p := doc.Find(partFDB, "")
	if p == nil {
		return nil
	}
	var st fdbPart
	if err := json.Unmarshal(p.State, &st); err != nil {
		return fmt.Errorf("FDB: %w", err)
	}
	text, err := r.Blob(st.File)
	if err == nil {
		t.fdb, err = readFDB(text)
	}
	if err != nil {
		return fmt.Errorf("FDB: %w", err)
	}
	return nil
}

// readFDB is the inverse of writeFDB.
func readFDB(text []byte) (entries []vswitch.FDBEntry, err error) {
	var list []savedEntry
	if err := json.Unmarshal(text, &list); err != nil {
		return nil, err
	}
	for i := range list {
		s := &list[i]
		e := vswitch.FDBEntry{VLAN: s.VLAN, All: s.All, Port: s.Port, Pinned: s.Pinned, Age: time.Duration(s.AgeS) * time.Second}
		mac, err := net.ParseMAC(s.MAC)
		if err == nil && len(mac) == len(e.MAC) {
			e.MAC = vswitch.MAC(mac)
			e.Kind, err = vswitch.ParseFDBKind(s.Type)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", handover.ErrNotUnderstood, err)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// Adopt makes ports of what was handed over, and touches nothing that the other process uses.
func (t *Takeover) Adopt(doc *handover.Document, r *handover.Reader) error {
	from, err := t.d.inherit(doc, r)
	if err != nil {
		return err
	}
	from.fdb = t.fdb
	t.from, t.change.from = from, from
	if err := t.change.prepare(t.d.life); err != nil {
		return err
	}
	for name := range from.ports {
		return fmt.Errorf("the configuration has no port %s, which the running vswitchd has", name)
	}
	return nil
}

// inherit reads the parts of a document.
func (d *Daemon) inherit(doc *handover.Document, r *handover.Reader) (*inheritance, error) {
	from := &inheritance{d: d, ports: make(map[string]*portPart), since: make(map[*vswitch.Counters]time.Time), files: r}
	for i := range doc.Parts {
		p := &doc.Parts[i]
		var err error
		switch p.Kind {
		case partPort:
			from.ports[p.Name] = &portPart{}
			err = json.Unmarshal(p.State, from.ports[p.Name])
		case partSwitch:
			err = json.Unmarshal(p.State, &from.sw)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %s %s: %w", handover.ErrNotUnderstood, p.Kind, p.Name, err)
		}
	}
	return from, nil
}

// adopt is port.Opener.Open for a port that was handed over.
func (from *inheritance) adopt(_ context.Context, p *config.Port, c *vswitch.Counters) (port.Port, error) {
	st := from.ports[p.Name]
	adopter, ok := from.d.openers[p.Kind.Name].(port.Adopter)
	if st == nil || st.Kind != p.Kind.Name || !ok {
		return nil, fmt.Errorf("%w: port %s is not in it", handover.ErrNotUnderstood, p.Name)
	}
	delete(from.ports, p.Name)
	c.Restore(&st.Counters)
	from.since[c] = time.Unix(0, st.Since)
	return adopter.Adopt(p, c, st.State, from.files)
}

// Begin makes the daemon go on with what was handed over. The other process touches nothing any
// more. The caller must call Run.
func (t *Takeover) Begin() (*Daemon, error) {
	d := t.d
	d.committing.Lock()
	defer d.committing.Unlock()
	if err := t.change.commit(); err != nil {
		return nil, fmt.Errorf("going on with what was handed over: %w", err)
	}
	for _, m := range d.snapshot() {
		<-m.port.(port.Mover).Resume()
	}
	d.pool.Work()
	return d, nil
}

// restoreSwitch restores what is not configured, before ports begin: an uplink receives for the
// stations in the FDB.
func (from *inheritance) restoreSwitch() {
	sw, log := from.d.sw, from.d.log
	if n := sw.RestoreFDB(from.fdb); n > 0 {
		log.Warn("entries of the FDB could not be restored", "addresses", n)
	}
	if n := sw.RestoreGroups(from.sw.Groups); n > 0 {
		log.Warn("static members of multicast groups could not be restored", "times", n)
	}
	for _, s := range from.sw.Sets {
		err := sw.UpdateSet(s.Name, func(vswitch.SetConfig) (vswitch.SetConfig, error) { return s, nil })
		if err != nil {
			log.Warn("a set could not be restored", "reason", err)
		}
	}
}

// Close gives up a takeover for which Begin was not called, or failed.
func (t *Takeover) Close() {
	t.change.rollBack()
	t.d.close()
}
