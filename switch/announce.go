package vswitch

import (
	"encoding/binary"
	"sync"
)

// Announcements
// =============
//
// Switches on the wire learn where a station is from its frames. After an uplink has come up, or a
// guest has been connected again, they may have a station in another place, until its next frame
// passes them or until their entries have aged. So the switch announces the station on uplinks with
// PortConfig.Announce: by a RARP request from the station's address, like QEMU for a guest that has
// been migrated.
//
// A port that comes up begins rounds of announcements, as one may be lost, and as stations are
// learned in the meantime: an uplink, of all stations that are not behind uplinks; another port, of
// its own stations. Of a silent guest only configured addresses are known.

// announceAfter is how many seconds after a port has come up its rounds begin.
var announceAfter = [...]uint32{0, 1, 3}

const (
	// maxAnnouncements is the number of frames in a second.
	maxAnnouncements = 1024

	// maxAnnounced is the number of frames that can be waiting.
	maxAnnounced = 16 * maxAnnouncements
)

// An announcer knows what is to be announced.
type announcer struct {
	mu     sync.Mutex // ranks after Switch.mu
	rounds map[portID]announceRounds

	queue []announcement // only the janitor uses it
}

// announceRounds are the rounds of a port.
type announceRounds struct {
	since uint32 // second in which the port came up
	next  int    // index in announceAfter
}

// An announcement is of one station on one uplink.
type announcement struct {
	mac    MAC
	vlan   uint16
	uplink portID
}

// begin begins the rounds of a port that has come up.
func (a *announcer) begin(id portID, now uint32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.rounds == nil {
		a.rounds = make(map[portID]announceRounds)
	}
	a.rounds[id] = announceRounds{since: now}
}

// due returns the ports of which a round is due, and counts the round.
func (a *announcer) due(now uint32) map[portID]bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	var due map[portID]bool
	for id, r := range a.rounds {
		if now-r.since < announceAfter[r.next] {
			continue
		}
		if due == nil {
			due = make(map[portID]bool)
		}
		due[id] = true
		if r.next++; r.next == len(announceAfter) {
			delete(a.rounds, id)
		} else {
			a.rounds[id] = r
		}
	}
	return due
}

// announce makes the announcements that are due. Only the janitor calls announce.
func (s *Switch) announce(now uint32) {
	a := &s.announcer
	if due := a.due(now); len(due) > 0 {
		a.queue = s.announcements(a.queue, due)
	}
	n := min(len(a.queue), maxAnnouncements)
	for _, e := range a.queue[:n] {
		s.originate(AppendRARP(nil, e.mac), e.vlan, func(v *portView) bool {
			if v.id != e.uplink {
				return false
			}
			v.counters.announced.Add(1)
			return true
		})
	}
	if a.queue = a.queue[n:]; len(a.queue) == 0 {
		a.queue = nil
	}
}

// announcements appends what ports announce of which a round is due.
func (s *Switch) announcements(to []announcement, due map[portID]bool) []announcement {
	var uplinks []*portView
	ports := make(map[string]*portView)
	for _, v := range s.set.Load().all {
		switch {
		case !v.up:
		case v.cfg.Role != RoleUplink:
			ports[v.cfg.Name] = v
		case v.cfg.Announce:
			uplinks = append(uplinks, v)
		}
	}
	if len(uplinks) == 0 {
		return to
	}
	for _, e := range s.FDB("", AnyVLAN) {
		v := ports[e.Port]
		if v == nil {
			continue
		}
		for _, u := range uplinks {
			if (due[v.id] || due[u.id]) && u.vlan.carries(e.VLAN) && !v.parts(u) && len(to) < maxAnnounced {
				to = append(to, announcement{e.MAC, e.VLAN, u.id})
			}
		}
	}
	return to
}

// Announced returns how many announcements were sent to the port.
func (c *Counters) Announced() uint64 { return c.announced.Load() }

// AppendRARP appends a frame that announces a station, of Ethernet's minimum length: a RARP request
// from the station to all, "what is my address?" (RFC 903).
func AppendRARP(b []byte, station MAC) []byte {
	const request, length = 3, 60
	end := len(b) + length
	b = append(b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
	b = append(b, station[:]...)
	for _, v := range []uint16{etherRARP, 1 /* Ethernet */, etherIPv4, 0x0604 /* lengths of addresses */, request} {
		b = binary.BigEndian.AppendUint16(b, v)
	}
	b = append(b, station[:]...)
	b = append(b, 0, 0, 0, 0)
	b = append(b, station[:]...)
	return append(b, make([]byte, end-len(b))...)
}
