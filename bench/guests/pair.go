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

// A device is what two guests of each network have.
type device struct{ name, options string }

var devices = []device{
	{"offloads", ""},
	{"offloads, receive rings of 1024", "rx_queue_size=1024"},
	{"no offloads", "csum=off,gso=off,host_tso4=off,host_tso6=off,host_ecn=off,host_ufo=off,host_uso=off," +
		"guest_csum=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off,guest_uso4=off,guest_uso6=off"},
}

// A pair is two guests of one network.
type pair struct {
	network  *network
	device   device
	port     int // of from; to has the next one
	from, to *vm.VM
	vcpus    map[int]bool // threads that are the guests' virtual processors
}

// addr is the address of the guest at a port.
func addr(port int) string { return fmt.Sprintf("10.0.0.%d", port+1) }

// launch starts the guests. They have to be closed, even if there was an error.
func (p *pair) launch(ctx context.Context) (err error) {
	if p.from, err = p.guest(ctx, p.port, false); err != nil {
		return err
	}
	p.to, err = p.guest(ctx, p.port+1, true)
	return err
}

func (p *pair) guest(ctx context.Context, port int, server bool) (*vm.VM, error) {
	c := vm.Config{
		Name:          fmt.Sprintf("%d of %s", port, p.network.name),
		IPs:           []string{addr(port) + "/24"},
		IperfServer:   server,
		DeviceOptions: p.device.options,
	}
	p.network.join(port, &c)
	return vm.Launch(ctx, c)
}

// ready waits until the guests have booted and can reach each other.
func (p *pair) ready(ctx context.Context) error {
	p.vcpus = make(map[int]bool)
	for _, g := range []*vm.VM{p.from, p.to} {
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
	return p.from.WaitPing(ctx, addr(p.port+1))
}

func (p *pair) close() {
	for _, g := range []*vm.VM{p.from, p.to} {
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
	again   int64   // TCP segments sent once more
	lost    float64 // share of UDP datagrams
}

// talk has one guest send to the other.
func (p *pair) talk(ctx context.Context, t traffic, d time.Duration) (v value, err error) {
	before, err := p.spent()
	if err != nil {
		return v, err
	}
	r, err := p.from.Iperf(ctx, addr(p.port+1), append(t.args, "--time", strconv.Itoa(int(d.Seconds())))...)
	if err != nil {
		return v, err
	}
	after, err := p.spent()
	if err != nil {
		return v, err
	}
	gigabytes := float64(r.Bytes) / 1e9
	v.mbits = r.BitsPerSecond / 1e6
	v.guests = (after.guests - before.guests).Seconds() / gigabytes
	v.outside = (after.outside - before.outside).Seconds() / gigabytes
	v.again = r.Retransmits
	v.lost = float64(r.Lost) / float64(max(1, r.Packets))
	return v, nil
}

// usage is processor time.
type usage struct{ guests, outside time.Duration }

// spent returns what the pair and its network have used until now.
func (p *pair) spent() (u usage, err error) {
	work, err := p.network.work()
	if err != nil {
		return u, err
	}
	for _, t := range work {
		u.outside += t
	}
	for _, g := range []*vm.VM{p.from, p.to} {
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
