package worker

// Polling a source that has become quiet pays if its next frame comes before the worker
// gives up: that frame need not wait for a thread to be woken. A source whose frames
// come further apart than Config.Poll has each of them wake the worker all the same,
// and keeps a processor busy between them for nothing: ten thousand frames a
// second, half of the time. So a worker notices, and stops polling such a source
// until it has changed, much as KVM does before it lets a virtual processor sleep.

const (
	// futileSpells is after how many spells of polling without a result, one after
	// another, a source is no longer polled.
	futileSpells = 4

	// probeSpells is which of the spells after that is one of polling again, to see
	// whether it pays now.
	probeSpells = 16
)

// patience is what a worker knows of whether polling a source pays. A spell is the time
// from when the source wakes the worker to when it is left alone.
type patience struct {
	paid   bool // in this spell, work came while the source was being polled
	futile int  // spells without that, one after another
}

// wait returns how long the source is polled after its last frame, if that is poll at
// the most.
func (p *patience) wait(poll int64) int64 {
	if p.paid || p.futile < futileSpells || p.futile%probeSpells == 0 {
		return poll
	}
	return 0
}

// ended takes note of the end of a spell.
func (p *patience) ended() {
	if p.futile++; p.paid {
		p.futile = 0
	}
	p.paid = false
}
