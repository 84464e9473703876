package control_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"vswitchd/internal/control"
	"vswitchd/internal/control/controltest"
)

func TestFiltersAndSets(t *testing.T) {
	b := controltest.Sample()
	socket := serve(t, b, nil)
	if d := cmp.Diff(len(b.Lists), len(get[[]control.Filter](t, socket, "/v1/filters"))); d != "" {
		t.Error(d)
	}
	f := get[control.Filter](t, socket, "/v1/filters/web")
	if f.Default.Frames != 7 || f.Rules[1].Match.Get("proto") != "[tcp]" || f.Rules[1].Bytes != 567890 {
		t.Errorf("filter web: %+v", f)
	}
	if d := cmp.Diff(b.Members, get[[]control.Set](t, socket, "/v1/sets"), cmpopts.EquateEmpty()); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(b.Members[0], get[control.Set](t, socket, "/v1/sets/admins")); d != "" {
		t.Error(d)
	}
}

// send sends a request with a body, and returns the status and the body of the answer.
func send(t *testing.T, socket, method, path, body string) (int, string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://vswitchd"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(answer))
}

// A set is changed as the body says. A body that is not understood changes nothing: a misspelt
// field would otherwise empty the set.
func TestChangesOfSets(t *testing.T) {
	b := controltest.Sample()
	socket := serve(t, b, nil)
	entries := func(a ...string) *control.SetEntries { return &control.SetEntries{Addresses: a} }
	for _, tt := range []struct {
		method, path, body string
		status             int
		answer             string // how it begins
		change             *control.SetChange
	}{
		{"PUT", "admins", `{"addresses": ["10.0.0.1"], "ports": [80, "90-99", "100"]}`, 200, `{"name":"admins"`,
			&control.SetChange{Replace: &control.SetEntries{Addresses: []string{"10.0.0.1"}, Ports: []control.PortRange{"80", "90-99", "100"}}}},
		{"PUT", "admins", `{}`, 200, `{"name":"admins"`, &control.SetChange{Replace: &control.SetEntries{}}},
		{"PATCH", "admins", `{"add": {"addresses": ["10.0.0.1"]}, "del": {"addresses": ["10.0.0.2"]}}`, 200, `{"name":"admins"`,
			&control.SetChange{Add: entries("10.0.0.1"), Del: entries("10.0.0.2")}},
		{"PATCH", "admins", `{"add": {"addresses": ["refused"]}}`, 409,
			`{"error":"change refused, nothing has changed","details":["set admins: refused","for two reasons"]}`, &control.SetChange{Add: entries("refused")}},
		{"PATCH", "admins", `{"add": {"addresses": ["malformed"]}}`, 400, `{"error":"malformed request: addresses: element 0 is wrong"}`, &control.SetChange{Add: entries("malformed")}},
		{"PUT", "admins", `{"adresses": []}`, 400, `{"error":"the body is not as it should be: json: unknown field \"adresses\""}`, nil},
		{"PUT", "admins", ``, 400, `{"error":"the body is not as it should be: EOF"}`, nil},
		{"PUT", "admins", `{} {}`, 400, `{"error":"the body is more than one JSON value, or too long"}`, nil},
		{"PUT", "admins", `{"ports": [65536]}`, 400, `{"error":"the body is not as it should be: `, nil},
		{"PUT", "admins", `{"ports": [` + strings.Repeat(`"1",`, 2<<20) + `"1"]}`, 400, `{"error":"the body is not as it should be: `, nil},
		{"PUT", "admins?x=1", `{}`, 400, `{"error":"unknown parameter \"x\""}`, nil},
		{"PATCH", "admin", `{}`, 404, `{"error":"no such set: \"admin\"; did you mean \"admins\"?"}`, nil},
		{"DELETE", "admins", ``, 405, `{"error":"use GET, PUT, PATCH"}`, nil},
		{"GET", "nobody", ``, 404, `{"error":"no such set: \"nobody\""}`, nil},
	} {
		b.Changes = nil
		status, answer := send(t, socket, tt.method, "/v1/sets/"+tt.path, tt.body)
		if status != tt.status || !strings.HasPrefix(answer, tt.answer) {
			t.Errorf("%s %s %.60s: %d %s", tt.method, tt.path, tt.body, status, answer)
		}
		var want []control.SetChange
		if tt.change != nil {
			want = []control.SetChange{*tt.change}
		}
		if d := cmp.Diff(want, b.Changes, cmpopts.EquateEmpty()); d != "" {
			t.Errorf("%s %s %.60s (-want +got):\n%s", tt.method, tt.path, tt.body, d)
		}
	}
	if status, answer := send(t, socket, "GET", "/v1/filters/wbe", ""); status != 404 || answer != `{"error":"no such filter: \"wbe\"; did you mean \"web\"?"}` {
		t.Errorf("%d %s", status, answer)
	}
}
