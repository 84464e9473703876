package rates

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"vswitchd/internal/control"
)

// An Interval is what happened between two readings of a switch's counters.
type Interval struct {
	Seconds float64                `json:"interval_s"` // between the readings, by the switch's clock
	Version string                 `json:"version"`
	UptimeS int64                  `json:"uptime_s"`
	Ports   control.List[Port]     `json:"ports"`
	Totals  Rates                  `json:"totals"` // sums over the ports with rates
	Workers control.List[*float64] `json:"workers_busy_ratio"`
}

// Port is a port at the second of the readings.
type Port struct {
	Name  string        `json:"name"`
	Kind  control.Kind  `json:"kind"`
	State control.State `json:"state"`
	Rates *Rates        `json:"rates"` // nil: not known, because the port or its counters are new
}

// Rates are per second. Rx is what the switch received from a port, Tx what it sent to the port.
type Rates struct {
	RxFrames float64            `json:"rx_frames"`
	RxBits   float64            `json:"rx_bits"`
	TxFrames float64            `json:"tx_frames"`
	TxBits   float64            `json:"tx_bits"`
	Drops    float64            `json:"drops"`           // frames, for all reasons
	Reasons  map[string]float64 `json:"drops_by_reason"` // without those that are 0
}

// Reason is a reason for drops with its frames per second.
type Reason struct {
	Name string
	Rate float64
}

// Between returns what happened between two readings, of which the first may be nil. It returns
// false, and no rates, if there is nothing to compare: the readings are of different runs of
// vswitchd, or no time has passed between them.
func Between(first, second *control.SwitchInfo) (Interval, bool) {
	i := Interval{Version: second.Version, UptimeS: second.UptimeS, Ports: make([]Port, 0, len(second.Ports))}
	i.Totals.Reasons = map[string]float64{}
	ok := first != nil && first.Started == second.Started && first.UptimeNS < second.UptimeNS
	if !ok {
		first = &control.SwitchInfo{}
	}
	i.Seconds = time.Duration(second.UptimeNS - first.UptimeNS).Seconds()
	before := make(map[string]*control.PortStats, len(first.Ports))
	for k := range first.Ports {
		before[first.Ports[k].Name] = &first.Ports[k]
	}
	for k := range second.Ports {
		p := &second.Ports[k]
		port := Port{Name: p.Name, Kind: p.Kind, State: p.State}
		if b := before[p.Name]; b != nil && b.Kind == p.Kind && !wasReset(&b.Counters, &p.Counters) {
			port.Rates = ratesOf(&b.Counters, &p.Counters, i.Seconds)
			i.Totals.add(port.Rates)
		}
		i.Ports = append(i.Ports, port)
	}
	i.Workers = busy(first.Workers, second.Workers, i.Seconds)
	return i, ok
}

// wasReset reports whether a counter is lower than it was: then the port is a new one that has the
// name of an old one, or its counters were reset, and there is no telling when.
func wasReset(a, b *control.Counters) bool {
	for reason, n := range a.Drops {
		if b.Drops[reason] < n {
			return true
		}
	}
	return b.RxFrames < a.RxFrames || b.RxBytes < a.RxBytes || b.TxFrames < a.TxFrames || b.TxBytes < a.TxBytes
}

func ratesOf(a, b *control.Counters, seconds float64) *Rates {
	rate := func(from, to uint64) float64 { return float64(to-from) / seconds }
	r := &Rates{
		RxFrames: rate(a.RxFrames, b.RxFrames),
		RxBits:   8 * rate(a.RxBytes, b.RxBytes),
		TxFrames: rate(a.TxFrames, b.TxFrames),
		TxBits:   8 * rate(a.TxBytes, b.TxBytes),
		Reasons:  map[string]float64{},
	}
	for reason, n := range b.Drops {
		if v := rate(a.Drops[reason], n); v > 0 {
			r.Reasons[reason] = v
			r.Drops += v
		}
	}
	return r
}

func (r *Rates) add(p *Rates) {
	r.RxFrames += p.RxFrames
	r.RxBits += p.RxBits
	r.TxFrames += p.TxFrames
	r.TxBits += p.TxBits
	r.Drops += p.Drops
	for reason, v := range p.Reasons {
		r.Reasons[reason] += v
	}
}

// Top returns the reasons for drops, the most frequent first.
func (r *Rates) Top() []Reason {
	list := make([]Reason, 0, len(r.Reasons))
	for _, name := range slices.Sorted(maps.Keys(r.Reasons)) {
		list = append(list, Reason{name, r.Reasons[name]})
	}
	slices.SortStableFunc(list, func(a, b Reason) int { return cmp.Compare(b.Rate, a.Rate) })
	return list
}

// busy returns the share of time that each worker was busy, from 0 to 1, nil for those that are not
// the same in both readings.
func busy(a, b []control.Worker, seconds float64) []*float64 {
	list := make([]*float64, len(b))
	for i := range b {
		if i < len(a) && a[i].CPU == b[i].CPU && a[i].BusyS <= b[i].BusyS {
			ratio := min(1, (b[i].BusyS-a[i].BusyS)/seconds) // busy time is read a little later
			list[i] = &ratio
		}
	}
	return list
}
