package control_test

import (
	"bytes"
	"context"
	"encoding/json"
	stderrors "errors"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	validator "github.com/pb33f/libopenapi-validator"
	"github.com/pb33f/libopenapi-validator/errors"

	"github.com/hashicorp/go-hclog"

	"vswitchd/internal/config"
	"vswitchd/internal/control"
	"vswitchd/internal/control/controltest"
	"vswitchd/internal/daemon"
	"vswitchd/test/station"
)

// A checker makes requests, and holds them and their answers against the description.
type checker struct {
	*testing.T
	v    validator.Validator
	http http.Client
	seen map[string]bool // "STATUS METHOD /path/{template}"
}

func newChecker(t *testing.T, v validator.Validator, socket string) *checker {
	c := &checker{T: t, v: v, seen: make(map[string]bool)}
	c.http.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}
	t.Cleanup(c.http.CloseIdleConnections)
	return c
}

// request makes a request for method and path, which may have a query.
func (c *checker) request(route, body string) *http.Request {
	c.Helper()
	method, path, _ := strings.Cut(route, " ")
	var content io.Reader
	if body != "" {
		content = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(c.Context(), method, "http://vswitchd"+path, content)
	if err != nil {
		c.Fatal(err)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return r
}

// check makes a request, and checks the request, if its parameters and body are such as described,
// and the answer.
func (c *checker) check(status int, route, body string) {
	c.Helper()
	if status != http.StatusBadRequest {
		if ok, errs := c.v.ValidateHttpRequest(c.request(route, body)); !ok {
			c.Errorf("%s %s: the request is not as described: %v", route, body, reasons(errs))
		}
	}
	resp, err := c.http.Do(c.request(route, body))
	if err != nil {
		c.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.Fatal(err)
	}
	if resp.StatusCode != status {
		c.Errorf("%s %s: status %d, want %d: %s", route, body, resp.StatusCode, status, text)
		return
	}
	resp.Body = io.NopCloser(bytes.NewReader(text))
	if ok, errs := c.v.ValidateHttpResponse(c.request(route, body), resp); !ok {
		c.Errorf("%s %s: the answer is not as described: %v\n%s", route, body, reasons(errs), text)
	}
	c.saw(status, route)
}

// saw records which operation a request was for.
func (c *checker) saw(status int, route string) {
	method, path, _ := strings.Cut(strings.Split(route, "?")[0], " ")
	words := strings.Split(path, "/")
	for _, o := range operations {
		m, template, _ := strings.Cut(o.route, " ")
		parts := strings.Split(template, "/")
		if m == method && len(parts) == len(words) && !slices.ContainsFunc(parts, func(p string) bool {
			i := slices.Index(parts, p)
			return p != words[i] && !strings.HasPrefix(p, "{")
		}) {
			c.seen[http.StatusText(status)+" "+o.route] = true
		}
	}
}

// reasons returns what a validator found in one line each.
func reasons(errs []*errors.ValidationError) (lines []string) {
	for _, e := range errs {
		line := e.Message + ": " + e.Reason
		for _, s := range e.SchemaValidationErrors {
			line += "; " + s.FieldPath + ": " + s.Reason
		}
		lines = append(lines, line)
	}
	return lines
}

// filled returns a detail in which every field has a value.
func filled(t reflect.Type, values map[string][]string) control.EventDetail {
	v := reflect.New(t)
	for i := range t.NumField() {
		switch f := v.Elem().Field(i); f.Kind() {
		case reflect.String:
			f.SetString(append(values[f.Type().Name()], "x")[0])
		case reflect.Int, reflect.Int64:
			f.SetInt(3)
		case reflect.Uint16, reflect.Uint64:
			f.SetUint(3)
		case reflect.Bool:
			f.SetBool(true)
		}
	}
	return v.Interface().(control.EventDetail)
}

// event checks an event.
func (c *checker) event(data []byte) {
	c.Helper()
	resp := &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(bytes.NewReader(data))}
	if ok, errs := c.v.ValidateHttpResponse(c.request("GET "+oneEvent, ""), resp); !ok {
		c.Errorf("%s is not as described: %v", data, reasons(errs))
	}
}

// checked is the configuration of the daemon whose answers are checked.
const checked = `[control]
socket = "$/control"
[switch]
socket_dir = "$"
mcast_snooping = true
[port.vm1]
ingress_filter = "web"
egress_rate = "1G"
[port.vm2]
tag = 7
[port.probe]
[uplink.lan]
interface = "nolink0"
[filter.web]
default = "accept"
rules = [{ name = "arp", action = "count", ethertype = "arp" }, { name = "admins", action = "accept", src = ["@admins"] }]
[set.admins]
addresses = ["10.0.0.0/24"]
ports = [22]
[mirror.m1]
select_src = ["vm1"]
output = "probe"
[[fdb]]
mac = "52:54:00:00:00:77"
port = "vm2"
[[mdb]]
group = "239.1.1.1"
port = "vm1"
[[neigh]]
ip = "10.0.0.9"
mac = "52:54:00:00:00:09"
`

// runDaemon runs a switch with that configuration, and returns the directory of its sockets.
func runDaemon(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "vswitchd-") // t.TempDir's may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	file := filepath.Join(dir, "v.toml")
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(checked, "$", dir)), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, running, errs := daemon.Kinds().LoadRunning(file, config.Flags{})
	if errs != nil {
		t.Fatal(errs)
	}
	d, err := daemon.New(cfg, hclog.NewNullLogger())
	if err != nil {
		t.Fatal(err)
	}
	l, err := control.Listen(t.Context(), filepath.Join(dir, "control"), control.Access{UID: -1, GID: -1, Mode: 0o600})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- d.Run(ctx) }()
	s := control.NewServer(d.Backend(), daemon.NewConfiguration(d, file, config.Flags{}, cfg, running), hclog.NewNullLogger())
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	})
	return dir
}

// checkBody is the body of a request to check the file of the running daemon.
func checkBody(t *testing.T, dir string) string {
	t.Helper()
	body, err := json.Marshal(control.ConfigText{Text: strings.ReplaceAll(checked, "$", dir)})
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// What the running daemon answers is as described, field by field: with guests that talk, and with
// every operation.
func TestDaemonAnswersAsDescribed(t *testing.T) {
	dir := runDaemon(t)
	socket := filepath.Join(dir, "control")
	c := newChecker(t, newValidator(t), socket)
	events := eventsOf(t, socket, control.EventFilter{}, true)

	a, err := station.Connect(filepath.Join(dir, "vm1.sock"), station.Config{MAC: station.Addr(1)})
	if err != nil {
		t.Fatal(err)
	}
	b, err := station.Connect(filepath.Join(dir, "probe.sock"), station.Config{MAC: station.Addr(2)})
	if err != nil {
		t.Fatal(err)
	}
	a.Start()
	b.Start()

	capture, err := control.NewClient(socket).Capture(t.Context(), control.CaptureRequest{Ports: []string{"vm1"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range operations {
		if o.takes == nil && !strings.Contains(o.route, "{") {
			c.check(400, o.route+"?bogus=1", "")
		}
	}
	for _, r := range []struct {
		status      int
		route, body string
	}{
		{200, "GET /v1/switch", ""}, {200, "GET /v1/ports", ""}, {200, "GET /v1/ports?kind=guest", ""}, {400, "GET /v1/ports?kind=gest", ""},
		{200, "GET /v1/ports/vm1", ""}, {200, "GET /v1/ports/vm2", ""}, {200, "GET /v1/ports/lan", ""}, {404, "GET /v1/ports/nobody", ""},
		{200, "POST /v1/fdb?mac=52:54:00:00:00:55&port=vm1&vlan=3&type=sticky", ""}, {200, "GET /v1/fdb", ""}, {200, "GET /v1/fdb?port=vm1&vlan=3", ""},
		{404, "GET /v1/fdb?port=nobody", ""}, {404, "POST /v1/fdb?mac=52:54:00:00:00:55&port=nobody", ""},
		{200, "DELETE /v1/fdb/52:54:00:00:00:55?vlan=3", ""}, {404, "DELETE /v1/fdb/52:54:00:00:00:55", ""}, {200, "DELETE /v1/fdb?port=vm1&vlan=0&type=dynamic", ""},
		{200, "POST /v1/mdb?group=239.1.1.2&port=vm1&vlan=3&source=10.0.0.1", ""}, {409, "POST /v1/mdb?group=239.1.1.1&port=vm1&vlan=0", ""},
		{200, "GET /v1/mdb", ""}, {200, "DELETE /v1/mdb?group=239.1.1.2&port=vm1&vlan=3&source=10.0.0.1", ""}, {404, "DELETE /v1/mdb?group=239.1.1.2&port=vm1", ""},
		{200, "GET /v1/neigh", ""}, {200, "GET /v1/mirrors", ""}, {200, "GET /v1/captures", ""}, {404, "DELETE /v1/captures/99", ""}, {200, "DELETE /v1/captures/1", ""},
		{400, "POST /v1/captures", `{}`}, {404, "POST /v1/captures", `{"ports": ["nobody"]}`}, {409, "POST /v1/captures", `{"ports": ["vm1"], "buffer": 1073741824}`},
		{400, "GET /v1/events?kind=x", ""}, {404, "GET /v1/events?port=nobody", ""},
		{200, "POST /v1/trace", `{"port": "vm1", "frame": "ffffffffffff5254000000010806"}`}, {404, "POST /v1/trace", `{"port": "nobody", "frame": "ffffffffffff5254000000010806"}`},
		{400, "POST /v1/trace", `{"port": "vm1", "frame": "xy"}`}, {200, "POST /v1/trace/next", `{"port": "vm2", "filter": [], "wait_ms": 1}`},
		{404, "POST /v1/trace/next", `{"port": "nobody", "filter": [], "wait_ms": 1}`},
		{200, "GET /v1/filters", ""}, {200, "GET /v1/filters/web", ""}, {404, "GET /v1/filters/none", ""},
		{200, "GET /v1/sets", ""}, {200, "GET /v1/sets/admins", ""}, {404, "GET /v1/sets/none", ""},
		{200, "PATCH /v1/sets/admins", `{"add": {"addresses": ["10.1.0.0/16"], "ports": [80, "8000-8080"]}, "del": {"addresses": ["10.0.0.0/24"], "ports": []}}`},
		{200, "PUT /v1/sets/admins", `{"addresses": ["10.0.0.0/24"], "ports": ["22"]}`}, {400, "PUT /v1/sets/admins", `{"address": []}`}, {404, "PUT /v1/sets/none", `{}`},
		{200, "GET /v1/stats", ""}, {200, "DELETE /v1/stats/vm1", ""}, {200, "DELETE /v1/stats", ""}, {200, "GET /v1/stats/vm1?since=reset", ""}, {404, "GET /v1/stats/nobody", ""}, {404, "DELETE /v1/stats/nobody", ""},
		{200, "GET /v1/config", ""}, {200, "PATCH /v1/config?dry_run=true", `[{"op": "add", "path": "/port/vm2/tag", "value": 9}]`},
		{200, "PATCH /v1/config", `[{"op": "add", "path": "/port/vm2/tag", "value": 9}, {"op": "remove", "path": "/mirror/m1"}]`}, {200, "GET /v1/config", ""},
		{409, "PATCH /v1/config", `[{"op": "add", "path": "/port/vm2/tag", "value": 5000}]`}, {400, "PATCH /v1/config", `[{"op": "ad"}]`},
		{200, "POST /v1/config/check", checkBody(t, dir)}, {409, "POST /v1/config/check", `{"text": "[port"}`},
		{200, "POST /v1/reload", ""}, {200, "GET /v1/state", ""},
	} {
		c.check(r.status, r.route, r.body)
	}
	if _, err := io.Copy(io.Discard, capture); err != nil {
		t.Error(err)
	}
	capture.Close()
	c.saw(200, "POST /v1/captures")
	for _, s := range []*station.Station{a, b} {
		if err := s.Leave(); err != nil {
			t.Error(err)
		}
	}
	for left := ""; left != "probe"; {
		data, err := events.Next()
		if err != nil {
			t.Fatal(err)
		}
		c.event(data)
		var e struct{ Event, Port string }
		if err := json.Unmarshal(data, &e); err != nil {
			t.Fatal(err)
		}
		if e.Event == "disconnected" {
			left = e.Port
		}
	}
	c.saw(200, "GET /v1/events")
	for _, o := range operations {
		if !c.seen["OK "+o.route] {
			t.Errorf("%s was not tried with success", o.route)
		}
	}
}

// The same for values that are rare in a running switch, and for every kind of event.
func TestSampleIsAsDescribed(t *testing.T) {
	b := controltest.Sample()
	socket, _ := serveEvents(t, b, time.Hour, time.Hour)
	c := newChecker(t, newValidator(t), socket)
	for _, d := range b.Details {
		c.check(200, "GET /v1/ports/"+d.Name, "")
		c.check(200, "GET /v1/stats/"+d.Name+"?since=reset", "")
	}
	for _, route := range []string{"switch", "ports", "fdb", "mdb", "neigh", "mirrors", "captures", "filters", "sets", "stats"} {
		c.check(200, "GET /v1/"+route, "")
	}
	stream := eventsOf(t, socket, control.EventFilter{}, false)
	values := readSource(t).values
	published := 1
	for _, kind := range slices.Sorted(maps.Keys(details)) {
		for _, name := range control.EventNames[kind] {
			var detail control.EventDetail = control.NewFlush(kind, 7, "by-hand")
			if name != "flushed" {
				detail = filled(details[kind], values)
			}
			if kind != control.EventStream {
				b.Events.Publish(control.NewEvent(kind, name, "vm1", detail))
				published++
			}
		}
	}
	b.Events.Lose(control.EventFDB, 3)
	b.Events.Close()
	for range published + 2 {
		data, err := stream.Next()
		if err != nil {
			t.Fatal(err)
		}
		c.event(data)
	}
	if _, err := stream.Next(); !stderrors.Is(err, io.EOF) {
		t.Errorf("behind the last event: %v", err)
	}
}

// A strict description finds what is not described.
func TestStrictDescriptionFindsWhatIsMissing(t *testing.T) {
	v := newValidator(t)
	r, err := http.NewRequest("DELETE", "http://vswitchd/v1/stats", nil)
	if err != nil {
		t.Fatal(err)
	}
	for body, want := range map[string]bool{`{"ports": 3}`: true, `{"ports": "3"}`: false, `{"ports": 3, "more": 1}`: false, `{}`: false} {
		resp := &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body))}
		if ok, _ := v.ValidateHttpResponse(r, resp); ok != want {
			t.Errorf("%s is as described: %v, want %v", body, ok, want)
		}
	}
}
