package control_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/hashicorp/go-hclog"

	"vswitchd/internal/control"
	"vswitchd/internal/control/controltest"
	"vswitchd/internal/tomldoc"
)

// serve serves a backend until the test ends, and returns the socket.
func serve(t *testing.T, backend control.Backend, config control.Configuration) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "control.sock")
	l, err := control.Listen(t.Context(), path, control.Access{UID: -1, GID: -1, Mode: 0o600})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	s := control.NewServer(backend, config, hclog.NewNullLogger())
	go func() { done <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return path
}

func get[T any](t *testing.T, socket, path string) (v T) {
	t.Helper()
	body, err := control.NewClient(socket).Get(t.Context(), path)
	if err != nil {
		t.Fatalf("GET %s: %v", path, err)
	}
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("GET %s: %v in %s", path, err, body)
	}
	return v
}

func TestServerAnswersWithTheBackendsValues(t *testing.T) {
	b := controltest.Sample()
	socket := serve(t, b, nil)

	ports := get[[]control.PortInfo](t, socket, "/v1/ports")
	var names []string
	for _, p := range ports {
		names = append(names, p.Name)
	}
	if diff := cmp.Diff([]string{"lan", "vm1", "vm2", "vm3", "wan"}, names); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(b.Details[1], get[control.PortDetail](t, socket, "/v1/ports/vm1"), cmpopts.EquateEmpty()); diff != "" {
		t.Error(diff)
	}
	sw := get[control.SwitchInfo](t, socket, "/v1/switch")
	if diff := cmp.Diff(b.Status, sw.SwitchStatus); diff != "" {
		t.Error(diff)
	}
	if len(sw.Ports) != 5 || sw.Totals.RxFrames != 2345679901 || sw.Totals.Drops.Total() != 102 || sw.Totals.LoopEvents["returned"] != 3 {
		t.Errorf("ports and totals: %+v", sw)
	}
	if got := get[control.PortStats](t, socket, "/v1/stats/lan"); got.Counters.TxBytes != 3028000 {
		t.Errorf("stats of lan: %+v", got)
	}
	if got := get[[]control.PortStats](t, socket, "/v1/stats"); len(got) != 5 {
		t.Errorf("stats: %+v", got)
	}
}

func TestFDBIsSortedAndFiltered(t *testing.T) {
	socket := serve(t, controltest.Sample(), nil)
	for _, tt := range []struct{ query, want string }{
		{"", "02/0 66/0 99/0 05/5 01/7"},
		{"?port=lan", "99/0"},
		{"?vlan=7", "66/0 01/7"},
		{"?vlan=0", "02/0 66/0 99/0"},
		{"?vlan=7&port=lan", ""},
	} {
		var got []string
		for _, e := range get[[]control.FDBEntry](t, socket, "/v1/fdb"+tt.query) {
			got = append(got, fmt.Sprintf("%s/%d", e.MAC[len(e.MAC)-2:], e.VLAN))
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%q: got %q, want %q", tt.query, s, tt.want)
		}
	}
}

func TestMDBIsFiltered(t *testing.T) {
	socket := serve(t, controltest.Sample(), nil)
	for query, want := range map[string]string{"": "6 3", "?vlan=0": "4 2", "?vlan=7": "2 1", "?vlan=8": "0 0"} {
		m := get[control.MDB](t, socket, "/v1/mdb"+query)
		if got := fmt.Sprint(len(m.Entries), len(m.Networks)); got != want || !m.Snooping {
			t.Errorf("%q: %s, want %s", query, got, want)
		}
	}
}

func TestListsAreNeverNull(t *testing.T) {
	empty := &controltest.Backend{Details: []control.PortDetail{{PortInfo: control.PortInfo{Name: "p"}, Session: &control.Session{}}}}
	socket := serve(t, empty, &controltest.Configuration{Info: control.ConfigInfo{Document: &tomldoc.Table{}}})
	c := control.NewClient(socket)
	for _, path := range []string{"/v1/switch", "/v1/ports", "/v1/ports/p", "/v1/fdb", "/v1/mdb", "/v1/mirrors", "/v1/stats", "/v1/stats/p", "/v1/config"} {
		body, err := c.Get(t.Context(), path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if bytes.Contains(body, []byte("null")) {
			t.Errorf("%s: %s", path, body)
		}
	}
	body, err := c.Post(t.Context(), "/v1/reload")
	if err != nil || string(body) != `{"changed":[],"warnings":[],"revision":""}` {
		t.Errorf("reload: %s %v", body, err)
	}
}

// Programs rely on these names.
func TestNamesInPortDetail(t *testing.T) {
	socket := serve(t, controltest.Sample(), nil)
	port := get[map[string]any](t, socket, "/v1/ports/vm1")
	session := port["session"].(map[string]any)
	ring := port["rings"].([]any)[1].(map[string]any)
	for what, c := range map[string]struct {
		got   map[string]any
		names string
	}{
		"port": {port, "name kind state socket mode queues features protocol_features mtu mac vlan flags counters rings regions " +
			"feature_bits protocol_feature_bits features_not_acked protocol_features_not_acked session last_end"},
		"feature":   {port["feature_bits"].([]any)[0].(map[string]any), "bit name acked"},
		"session":   {session, "age_s number owned device_status backend_channel dirty_log in_flight"},
		"status":    {session["device_status"].(map[string]any), "value names"},
		"dirty log": {session["dirty_log"].(map[string]any), "on present size offset"},
		"in flight": {session["in_flight"].(map[string]any), "present size offset rings queue_size"},
		"last end":  {port["last_end"].(map[string]any), "reason ago_s"},
		"ring": {ring, "index direction format size enabled started running avail last_avail used avail_wrap used_wrap base waiting in_flight recorded " +
			"kicks calls bad_chains kick_by call_by suppression polling want_kicks want_calls desc_addr avail_addr used_addr log_used log_addr"},
		"split ring": {port["rings"].([]any)[0].(map[string]any), "avail_idx"},
		"notify":     {ring["want_kicks"].(map[string]any), "when event wrap"},
		"region":     {port["regions"].([]any)[0].(map[string]any), "guest_addr user_addr size file_offset page_size"},
		"counters":   {port["counters"].(map[string]any), "rx_frames rx_bytes tx_frames tx_bytes drops kicks calls reconnects resets"},
	} {
		for _, name := range strings.Fields(c.names) {
			if _, ok := c.got[name]; !ok {
				t.Errorf("%s: there is no %s", what, name)
			}
		}
	}
}

func TestErrorsHaveAStatusAndSayWhy(t *testing.T) {
	socket := serve(t, controltest.Sample(), &controltest.Configuration{Err: errors.New("f:1: a: bad\nf:2: b: bad\n")})
	for _, tt := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"GET", "/v1/ports/nobody", 404, `{"error":"no such port: \"nobody\""}`},
		{"GET", "/v1/stats/nobody", 404, `{"error":"no such port: \"nobody\""}`},
		{"GET", "/v1/ports?kind=gest", 400, `{"error":"kind is \"gest\", must be one of [guest uplink host]"}`},
		{"GET", "/v1/fdb?port=nobody", 404, `{"error":"no such port: \"nobody\""}`},
		{"GET", "/v1/fdb?vlan=4096", 400, `{"error":"vlan is \"4096\", must be from 0 to 4095"}`},
		{"GET", "/v1/fdb?vlan=x", 400, `{"error":"vlan is \"x\", must be from 0 to 4095"}`},
		{"GET", "/v1/mdb?vlan=4096", 400, `{"error":"vlan is \"4096\", must be from 0 to 4095"}`},
		{"POST", "/v1/mdb?port=vm1", 400, `{"error":"group is \"\", must be an IP address"}`},
		{"POST", "/v1/mdb?group=239.9.9.9", 400, `{"error":"port is missing"}`},
		{"POST", "/v1/mdb?group=239.9.9.9&port=vm", 404, `{"error":"no such port: \"vm\"; did you mean \"vm1\"?"}`},
		{"POST", "/v1/mdb?group=239.9.9.9&port=vm1&source=x", 400, `{"error":"source is \"x\", must be an IP address"}`},
		{"POST", "/v1/mdb?group=239.1.1.2&port=vm1&vlan=7", 409, `{"error":"port is a static member already: 239.1.1.2"}`},
		{"DELETE", "/v1/mdb?group=239.9.9.9&port=vm1", 404, `{"error":"no such static member: 239.9.9.9"}`},
		{"PUT", "/v1/mdb", 405, `{"error":"use GET, POST, DELETE"}`},
		{"GET", "/v1/mdb?port=vm1", 400, `{"error":"unknown parameter \"port\""}`},
		{"GET", "/v1/fdb?prot=vm1", 400, `{"error":"unknown parameter \"prot\""}`},
		{"GET", "/v1/switch?%zz", 400, `{"error":"the query is malformed"}`},
		{"GET", "/v2/switch", 404, `{"error":"there is no \"/v2/switch\" in this API"}`},
		{"POST", "/v1/ports", 405, `{"error":"use GET"}`},
		{"GET", "/v1/reload", 405, `{"error":"use POST"}`},
		{"PUT", "/v1/fdb", 405, `{"error":"use GET, POST, DELETE"}`},
		{"POST", "/v1/fdb?port=vm1", 400, `{"error":"\"\" is not a MAC address"}`},
		{"POST", "/v1/fdb?mac=52:54:00:00:00:07", 400, `{"error":"port is missing"}`},
		{"POST", "/v1/fdb?mac=52:54:00:00:00:07&port=vm1&type=blackhole", 400, `{"error":"a blackhole has no port"}`},
		{"POST", "/v1/fdb?mac=52:54:00:00:00:07&port=vm1&type=x", 400, `{"error":"type is \"x\", must be one of dynamic, static, sticky, blackhole"}`},
		{"POST", "/v1/fdb?mac=52:54:00:00:00:07&port=vm1&vlan=x", 400, `{"error":"vlan is \"x\", must be from 0 to 4095"}`},
		{"POST", "/v1/fdb?mac=52:54:00:00:00:07&port=nobody", 404, `{"error":"no such port: \"nobody\""}`},
		{"POST", "/v1/fdb?mac=52:54:00:00:00:01&port=vm1", 409, `{"error":"address is pinned: 52:54:00:00:00:01"}`},
		{"DELETE", "/v1/fdb/52:54:00:00:00:07", 404, `{"error":"no such FDB entry: 52:54:00:00:00:07"}`},
		{"DELETE", "/v1/fdb/52:54:00:00:00:01", 409, `{"error":"address is pinned: 52:54:00:00:00:01"}`},
		{"DELETE", "/v1/fdb?type=dynamic,x", 400, `{"error":"type is \"x\", must be one of dynamic, static, sticky, blackhole"}`},
		{"GET", "/v1/fdb/52:54:00:00:00:01", 405, `{"error":"use DELETE"}`},
		{"POST", "/v1/reload", 409, `{"error":"reload refused, nothing has changed","details":["f:1: a: bad","f:2: b: bad"]}`},
	} {
		status, body := raw(t, socket, tt.method, tt.path)
		if status != tt.status || body != tt.body {
			t.Errorf("%s %s: %d %s\nwant %d %s", tt.method, tt.path, status, body, tt.status, tt.body)
		}
	}
}

// raw makes one request without Client.
func raw(t *testing.T, socket, method, path string) (status int, body string) {
	t.Helper()
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", method, path)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(b.String())
}

func TestClientShowsTheLinesOfARefusal(t *testing.T) {
	socket := serve(t, controltest.Sample(), &controltest.Configuration{Err: errors.New("f:1: a: bad\nf:2: b: bad")})
	_, err := control.NewClient(socket).Post(t.Context(), "/v1/reload")
	if err == nil || err.Error() != "reload refused, nothing has changed\nf:1: a: bad\nf:2: b: bad" {
		t.Error(err)
	}
}

func TestClientsThatHangDoNotStopOthersNorTheEnd(t *testing.T) {
	socket := serve(t, controltest.Sample(), nil)
	for range 100 {
		c, err := net.Dial("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprint(c, "GET /v1/switch HTTP/1.1\r\n") // and not the rest
	}
	if got := get[control.SwitchInfo](t, socket, "/v1/switch"); got.Version != "1.2.3" {
		t.Errorf("%+v", got)
	}
}

func TestClientKnowsThatThereIsNoDaemon(t *testing.T) {
	dir := t.TempDir()
	_, err := control.NewClient(filepath.Join(dir, "none")).Get(t.Context(), "/v1/switch")
	if !errors.Is(err, control.ErrNoDaemon) {
		t.Errorf("no socket: %v", err)
	}
	stale := filepath.Join(dir, "stale")
	makeStale(t, stale)
	_, err = control.NewClient(stale).Get(t.Context(), "/v1/switch")
	if !errors.Is(err, control.ErrNoDaemon) {
		t.Errorf("stale socket: %v", err)
	}
}

func TestClientRefusesWhatIsNoDaemon(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "hello") }))
	_, err = control.NewClient(path).Get(t.Context(), "/v1/switch")
	if err == nil || errors.Is(err, control.ErrNoDaemon) {
		t.Error(err)
	}
}
