package guests

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"vswitchd/test/vm"
)

// counts are what a guest has counted of the frames that it receives.
type counts struct {
	frames     int64
	interrupts int64 // of its receive queue
	dropped    int64 // datagrams for which a socket had no room
}

// read returns a guest's counts. They are 0 without a guest.
func read(ctx context.Context, g *vm.VM) (c counts, err error) {
	if g == nil {
		return c, nil
	}
	text, err := g.Output(ctx, "cat /proc/interrupts /proc/net/snmp; echo frames $(cat /sys/class/net/eth0/statistics/rx_packets)")
	if err != nil {
		return c, err
	}
	if c, err = parseCounts(text); err != nil {
		return c, fmt.Errorf("guest %s: %w", g.Config.Name, err)
	}
	return c, nil
}

var (
	inputLine = regexp.MustCompile(`(?m)^ *\d+: +(\d+) .*virtio\d+-input\.0$`) // one virtual processor
	udpLine   = regexp.MustCompile(`(?m)^Udp: \d+ \d+ \d+ \d+ (\d+) `)
	frameLine = regexp.MustCompile(`(?m)^frames (\d+)$`)
)

// parseCounts reads /proc/interrupts, /proc/net/snmp and a line of frames.
func parseCounts(text string) (c counts, err error) {
	for _, f := range []struct {
		line *regexp.Regexp
		to   *int64
	}{{inputLine, &c.interrupts}, {udpLine, &c.dropped}, {frameLine, &c.frames}} {
		m := f.line.FindStringSubmatch(text)
		if m == nil {
			return c, fmt.Errorf("no counter %s in %s", f.line, strings.TrimSpace(text))
		}
		if *f.to, err = strconv.ParseInt(m[1], 10, 64); err != nil {
			return c, err
		}
	}
	return c, nil
}
