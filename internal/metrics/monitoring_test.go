package metrics

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"vswitchd/internal/port/guest"
	"vswitchd/internal/port/uplinkport"
	vswitch "vswitchd/switch"
)

// monitoring returns a file of packaging/monitoring.
func monitoring(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile("../../packaging/monitoring/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var (
	metricName = regexp.MustCompile(prefix + `[a-z_]+`)
	metricPart = regexp.MustCompile(`_(bucket|sum|count)$`)
	matcher    = regexp.MustCompile(`\b(reason|event|limit|kind|resource)=~?\\?"([^"\\]+)\\?"`)
	alertName  = regexp.MustCompile(`(?m)^ *- alert: (\w+)$`)
)

// The alerts and the dashboard use only metrics that are served, and values of labels that occur.
func TestAlertsAndDashboardUseWhatIsServed(t *testing.T) {
	names := make(map[string]bool)
	for _, f := range families {
		names[prefix+f.name] = true
		if f.kind == "histogram" {
			for _, part := range []string{"_bucket", "_sum", "_count"} {
				names[prefix+f.name+part] = true
			}
		}
	}
	values := slices.Concat(
		vswitch.DropReasons(), guest.Kind{}.Reasons().Resets, uplinkport.Kind{}.Reasons().Drops,
		[]string{"guest", "uplink", "host", "ingress_policing_rate", "ingress_policing_pps", "egress_rate"},
	)
	for event := range new(vswitch.Counters).FDB().ByName() {
		values = append(values, event)
	}
	for _, file := range []string{"alerts.yml", "alerts_test.yml", "dashboard.json"} {
		text := monitoring(t, file)
		used := metricName.FindAllString(text, -1)
		if len(used) < 10 {
			t.Errorf("%s: only %d names of metrics were found", file, len(used))
		}
		for _, name := range used {
			if !names[name] {
				t.Errorf("%s uses %s, which is not served", file, name)
			}
		}
		for _, m := range matcher.FindAllStringSubmatch(text, -1) {
			for value := range strings.SplitSeq(m[2], "|") {
				if m[1] != "resource" && !slices.Contains(values, value) {
					t.Errorf("%s selects %s=%q, which does not occur", file, m[1], value)
				}
			}
		}
	}
}

// Each metric is on the dashboard or in an alert, except for those that only identify something.
func TestMetricsAreUsed(t *testing.T) {
	all := monitoring(t, "alerts.yml") + monitoring(t, "dashboard.json")
	var used []string
	for _, name := range metricName.FindAllString(all, -1) {
		used = append(used, name, metricPart.ReplaceAllString(name, ""))
	}
	for _, f := range families {
		switch f.name {
		case "filter_rule_bytes_total", "mirror_bytes_total", "worker_frames_total", "worker_empty_polls_total",
			"worker_sources", "worker_pausing", "port_held_bytes", "worker_cpu_seconds_total", "captures", "port_fdb_events_total",
			"port_mcast_events_total", "port_loop_events_total":
			continue // details of what is shown
		}
		if !slices.Contains(used, prefix+f.name) {
			t.Errorf("%s is neither on the dashboard nor in an alert", prefix+f.name)
		}
	}
}

// Each alert has a test in which it fires, one in which it does not, and a line in the document.
func TestAlertsAreTested(t *testing.T) {
	tests := monitoring(t, "alerts_test.yml")
	document, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	alerts := alertName.FindAllStringSubmatch(monitoring(t, "alerts.yml"), -1)
	if len(alerts) == 0 {
		t.Fatal("there are no alerts")
	}
	for _, a := range alerts {
		if !strings.Contains(tests, "- alertname: "+a[1]+"\n") || !strings.Contains(tests, "{alertname: "+a[1]+",") {
			t.Errorf("alerts_test.yml has no test in which %s fires, and one in which it does not", a[1])
		}
		if !strings.Contains(string(document), "| `"+a[1]+"` |") {
			t.Errorf("docs/metrics.md does not say what to do about %s", a[1])
		}
	}
}

// The dashboard's panels have ids, places and descriptions of their data, and do not overlap.
func TestDashboardIsLaidOut(t *testing.T) {
	type place struct{ X, Y, W, H int }
	var dashboard struct {
		Panels []struct {
			ID      int
			Type    string
			Title   string
			GridPos place
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(monitoring(t, "dashboard.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	ids := make(map[int]bool)
	taken := make(map[[2]int]string)
	for _, p := range dashboard.Panels {
		if ids[p.ID] || p.Title == "" || (p.Type != "row") != (len(p.Targets) > 0) {
			t.Errorf("panel %d, %q: its id is taken, or it has no title, or nothing to show", p.ID, p.Title)
		}
		ids[p.ID] = true
		if g := p.GridPos; g.X < 0 || g.W < 1 || g.H < 1 || g.X+g.W > 24 {
			t.Errorf("panel %q is at %+v", p.Title, g)
		}
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if taken[at] != "" {
					t.Fatalf("panels %q and %q overlap", taken[at], p.Title)
				}
				taken[at] = p.Title
			}
		}
	}
	if len(dashboard.Panels) == 0 {
		t.Error("there are no panels")
	}
}
