package top

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vswitchd/internal/control"
	"vswitchd/internal/layout"
	"vswitchd/internal/rates"
)

// at is a reading of a run of vswitchd.
func at(run string, up time.Duration, received uint64) *control.SwitchInfo {
	info := &control.SwitchInfo{}
	info.Version, info.Started, info.UptimeS, info.UptimeNS = "1.2.3", run, int64(up.Seconds()), up.Nanoseconds()
	info.Workers = []control.Worker{{CPU: -1}}
	for _, name := range []string{"vm2", "vm1", "lan"} {
		p := control.PortStats{Name: name, Kind: control.KindGuest, State: control.StateRunning}
		p.Counters = control.Counters{RxFrames: received, RxBytes: 100 * received, Drops: control.Tally{"ring-full": received / 2}}
		info.Ports = append(info.Ports, p)
	}
	return info
}

// script is what vswitchd answers: nil where it does not.
func script(readings ...*control.SwitchInfo) func(context.Context) (*control.SwitchInfo, error) {
	return func(context.Context) (*control.SwitchInfo, error) {
		if len(readings) == 0 {
			return nil, errors.New("vswitchd is asked too often")
		}
		r := readings[0]
		readings = readings[1:]
		if r == nil {
			return nil, errors.New("vswitchd is not running")
		}
		return r, nil
	}
}

func TestEach(t *testing.T) {
	cfg := &Config{Interval: time.Millisecond, Count: 3}
	cfg.Read = script(at("a", 1e9, 10), at("a", 2e9, 20), nil, nil, at("a", 5e9, 50), nil, at("b", 1e9, 0), at("b", 3e9, 4))
	var got []string
	err := Each(t.Context(), cfg, func(i *rates.Interval) error {
		got = append(got, layout.Rounded(i.Ports[0].Rates.RxFrames)+" in "+layout.Rounded(i.Seconds)+" s")
		return nil
	}, func(text string) { got = append(got, text) })
	want := []string{
		"10 in 1 s", "vswitchd is not running; trying again", "vswitchd answers again", "10 in 3 s",
		"vswitchd is not running; trying again", "vswitchd has been restarted", "2 in 2 s",
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
}

func TestEachEnds(t *testing.T) {
	never := func(*rates.Interval) error { t.Error("an interval"); return nil }
	if err := Each(t.Context(), &Config{Interval: time.Hour, Read: script(nil)}, never, nil); err == nil {
		t.Error("no error, though vswitchd does not answer at first")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Each(ctx, &Config{Interval: time.Hour, Read: script(at("a", 1, 0))}, never, nil); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	full := errors.New("the disk is full")
	cfg := &Config{Interval: time.Millisecond, Read: script(at("a", 1e9, 0), at("a", 2e9, 0))}
	if err := Each(t.Context(), cfg, func(*rates.Interval) error { return full }, nil); err != full {
		t.Error(err)
	}
}

func TestText(t *testing.T) {
	interval, _ := rates.Between(at("a", 1e9, 1000), at("a", 3e9, 5000))
	cfg := &Config{Filter: "VM"}
	var b strings.Builder
	cfg.Text(&layout.Page{Writer: &b, Width: 80}, &interval)
	want := `vswitchd 1.2.3, up 3s, 3 ports, 3 running
workers  0: 0 %
drops/s  ring-full 3.00k

PORT▲  STATE    RX FR/S  RX BIT/S  TX FR/S  TX BIT/S  DROP/S
(all)             6.00k     4.80M        0         0   3.00k
vm1    running    2.00k     1.60M        0         0   1.00k
vm2    running    2.00k     1.60M        0         0   1.00k

`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Error(diff)
	}
}

func TestJSON(t *testing.T) {
	interval, _ := rates.Between(at("a", 1e9, 0), at("a", 2e9, 8))
	cfg := &Config{Filter: "vm1"}
	line, err := cfg.JSON(&interval)
	if err != nil || strings.Count(string(line), "\n") != 1 {
		t.Errorf("%v, not one line: %s", err, line)
	}
	var v rates.Interval
	if err := json.Unmarshal(line, &v); err != nil || len(v.Ports) != 1 || v.Ports[0].Rates.RxFrames != 8 || v.Totals.RxFrames != 24 {
		t.Errorf("%v: %s", err, line)
	}
}

func TestOrder(t *testing.T) {
	if _, err := ParseOrder("rx-bit", false); err == nil || !strings.Contains(err.Error(), `did you mean "rx-bits"?`) {
		t.Error(err)
	}
	if _, err := ParseOrder("reasons", false); err == nil {
		t.Error("ports are sorted by reasons")
	}
	seen := map[string]bool{}
	for o, n := (Order{}), 0; n < len(SortNames()); o, n = o.next(1), n+1 {
		seen[columns[o.by].name] = true
		if o.next(1).next(-1) != o {
			t.Errorf("back from the column behind %s is another", columns[o.by].name)
		}
	}
	if len(seen) != len(SortNames()) {
		t.Errorf("%v of %v are found", seen, SortNames())
	}
}
