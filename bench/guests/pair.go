package guests

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"vswitchd/bench/peer"
	"vswitchd/test/vm"
)

// A pair is two guests of one network.
type pair struct {
	network *network
	device  device
	port    int // of the first guest; the second has the next one
	guests  [2]*vm.VM
	vcpus   map[int]bool // threads that are the guests' virtual processors
}

// addr is the address of the guest at a port.
func addr(port int) string { return fmt.Sprintf("10.0.0.%d", port+1) }

// launch starts the guests. They have to be closed, even if there was an error.
func (p *pair) launch(ctx context.Context) (err error) {
	for i := range p.guests {
		c := vm.Config{
			Name:          fmt.Sprintf("%d of %s", p.port+i, p.network.name),
			IPs:           []string{addr(p.port+i) + "/24"},
			IperfServer:   i == 1,
			DeviceOptions: p.device.options,
		}
		p.network.join(p.port+i, &c)
		if p.guests[i], err = vm.Launch(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// ready waits until the guests have booted, and can reach each other and the station behind the
// uplink.
func (p *pair) ready(ctx context.Context) error {
	p.vcpus = make(map[int]bool)
	for _, g := range p.guests {
		if err := g.WaitReady(ctx); err != nil {
			return err
		}
		raw, err := g.Execute(ctx, "query-cpus-fast", nil)
		if err != nil {
			return err
		}
		var cpus []struct {
			Thread int `json:"thread-id"`
		}
		if err := json.Unmarshal(raw, &cpus); err != nil {
			return fmt.Errorf("QEMU's virtual processors: %w", err)
		}
		for _, c := range cpus {
			p.vcpus[c.Thread] = true
		}
	}
	for _, to := range []string{addr(p.port + 1), stationAddr} {
		if err := p.guests[0].WaitPing(ctx, to); err != nil {
			return err
		}
	}
	return nil
}

func (p *pair) close() {
	for _, g := range p.guests {
		if g != nil {
			g.Close()
		}
	}
}

// A value is what was measured once.
type value struct {
	mbits   float64 // arrived, in 10⁶ bit/s
	guests  float64 // seconds of processor time for 10⁹ bytes, of both guests together
	outside float64 // likewise, of all else
	again   float64 // TCP segments sent once more, for 10⁹ bytes
	lost    float64 // share of UDP datagrams
	dropped float64 // share of UDP datagrams that the receiving guest had no room for

	// Shares of one processor: of the guests, of all else, and of the network's own process.
	guestsLoad, outsideLoad, networkLoad float64

	// Of a guest that receives, for 1000 frames that it receives.
	interrupts float64
}

// talk has one guest send to the other, or to the station behind the uplink, or the other way
// round.
func (p *pair) talk(ctx context.Context, s scenario, reverse bool, d time.Duration) (v value, err error) {
	to, receiver := addr(p.port+1), p.guests[1]
	switch s.route {
	case guestToUplink:
		to, receiver, reverse = stationAddr, nil, false
	case uplinkToGuest:
		to, reverse = stationAddr, true
	}
	args := append([]string{"--time", strconv.Itoa(int(d.Seconds()))}, s.traffic.args...)
	if reverse {
		args, receiver = append(args, "--reverse"), p.guests[0]
	}
	var seen, after counts
	if seen, err = read(ctx, receiver); err != nil {
		return v, err
	}
	before, err := p.spent()
	if err != nil {
		return v, err
	}
	began := time.Now()
	r, err := p.guests[0].Iperf(ctx, to, args...)
	if err != nil {
		return v, err
	}
	elapsed := time.Since(began).Seconds()
	spent, err := p.spent()
	if err != nil {
		return v, err
	}
	if after, err = read(ctx, receiver); err != nil {
		return v, err
	}
	gigabytes := float64(r.Bytes) / 1e9
	guests, outside := (spent.guests - before.guests).Seconds(), (spent.outside - before.outside).Seconds()
	network := (spent.network - before.network).Seconds()
	v.mbits = r.BitsPerSecond / 1e6
	v.guests, v.outside = guests/gigabytes, outside/gigabytes
	v.guestsLoad, v.outsideLoad, v.networkLoad = guests/elapsed, outside/elapsed, network/elapsed
	v.again = float64(r.Retransmits) / gigabytes
	packets := float64(max(1, r.Packets))
	v.lost, v.dropped = float64(r.Lost)/packets, float64(after.dropped-seen.dropped)/packets
	v.interrupts = 1000 * float64(after.interrupts-seen.interrupts) / float64(max(1, after.frames-seen.frames))
	return v, nil
}

// usage is processor time: of the guests, of all else, and of the network's own process, which is a
// part of the latter.
type usage struct{ guests, outside, network time.Duration }

// spent returns what the pair and its network have used until now.
func (p *pair) spent() (u usage, err error) {
	work, err := p.network.work()
	if err != nil {
		return u, err
	}
	for _, t := range work {
		u.network += t
	}
	u.outside = u.network
	for _, g := range p.guests {
		work, err := peer.WorkOf(g.PID())
		if err != nil {
			return u, err
		}
		for tid, t := range work {
			if p.vcpus[tid] {
				u.guests += t
			} else {
				u.outside += t
			}
		}
	}
	return u, nil
}
