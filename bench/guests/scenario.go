package guests

import "slices"

// A device is what the two guests of a pair have.
type device struct{ name, options string }

var devices = []device{
	{"offloads", ""},
	{"offloads, receive rings of 1024", "rx_queue_size=1024"},
	{"no offloads", "csum=off,gso=off,host_tso4=off,host_tso6=off,host_ecn=off,host_ufo=off,host_uso=off," +
		"guest_csum=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off,guest_uso4=off,guest_uso6=off"},
}

// A route is who sends to whom. A guest to guest route is taken in the other direction in every
// second round.
type route string

const (
	guestToGuest  route = "guest to guest"
	guestToUplink route = "guest to uplink"
	uplinkToGuest route = "uplink to guest"
)

// A traffic is what is sent.
type traffic struct {
	name  string
	args  []string // of iperf3
	paced bool     // less than could be sent
}

var (
	tcp  = traffic{name: "TCP"}
	udp  = traffic{name: "UDP", args: []string{"--udp", "--bitrate", "0"}}
	slow = traffic{"1,000 frames/s", []string{"--udp", "--length", "1000", "--bitrate", "8M"}, true}
	fast = traffic{"5,000 frames/s", []string{"--udp", "--length", "1000", "--bitrate", "40M"}, true}
)

// A scenario is what a pair of guests does while it is measured.
type scenario struct {
	traffic traffic
	route   route
	device  device
}

// name is the scenario's in tables.
func (s scenario) name() string {
	return s.traffic.name + ", " + string(s.route) + ", " + s.device.name
}

// scenarios returns all of them, in the order of the tables' rows.
func scenarios() (all []scenario) {
	routes := []route{guestToGuest, guestToUplink, uplinkToGuest}
	for _, t := range []traffic{tcp, udp} {
		for _, r := range routes {
			for _, d := range devices {
				if r == guestToGuest || d != devices[1] {
					all = append(all, scenario{t, r, d})
				}
			}
		}
	}
	for _, t := range []traffic{slow, fast} {
		for _, r := range routes {
			all = append(all, scenario{t, r, devices[0]})
		}
	}
	return all
}

// used returns the devices of scenarios.
func used(all []scenario) (used []device) {
	for _, s := range all {
		if !slices.Contains(used, s.device) {
			used = append(used, s.device)
		}
	}
	return used
}
