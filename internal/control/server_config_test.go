package control_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"vswitchd/internal/control"
	"vswitchd/internal/control/controltest"
	"vswitchd/internal/tomldoc"
)

// request makes a request with a header, such as "If-Match: x", and a body.
func request(t *testing.T, socket, method, path, header, body string) (*http.Response, string) {
	t.Helper()
	c, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if header != "" {
		header += "\r\n"
	}
	fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%sContent-Length: %d\r\n\r\n%s", method, path, header, len(body), body)
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if _, err := bufio.NewReader(resp.Body).WriteTo(&text); err != nil {
		t.Fatal(err)
	}
	return resp, strings.TrimSpace(text.String())
}

// The configuration is answered with its revision, and edits reach it as they are sent.
func TestConfiguration(t *testing.T) {
	doc, err := tomldoc.Parse([]byte("[port.vm1]\ntag = 10\ntrunks = [1, \"3-4\"]\n"))
	if err != nil {
		t.Fatal(err)
	}
	patch := tomldoc.Patch{{Op: "add", Path: tomldoc.Path{"port", "a/b"}, Value: doc.Table("port").Table("vm1")}, {Op: "remove", Path: tomldoc.Path{"fdb", "0"}},
		{Op: "move", From: tomldoc.Path{"x"}, Path: tomldoc.Path{"y"}}, {Op: "test", Path: tomldoc.Path{"y"}, Value: false}}
	c := &controltest.Configuration{
		Info:   control.ConfigInfo{Revision: "r1", Document: doc, Text: "t", File: &control.ConfigFile{Path: "/f", Error: "e"}, Differences: control.List[tomldoc.Edit](patch)},
		Change: control.ConfigChange{Changed: []string{"port a added"}, Revision: "r2"},
	}
	socket := serve(t, controltest.Sample(), c)
	if info := get[control.ConfigInfo](t, socket, "/v1/config"); !cmp.Equal(info, c.Info) {
		t.Errorf("%s", cmp.Diff(c.Info, info))
	}
	if resp, body := request(t, socket, "GET", "/v1/config", "", ""); resp.Header.Get("ETag") != `"r1"` || !strings.Contains(body, `{"op":"add","path":"/port/a~1b","value":{"tag":10,"trunks":[1,"3-4"]}}`) {
		t.Errorf("%v %s", resp.Header, body)
	}
	client := control.NewClient(socket)
	body, err := client.EditConfig(t.Context(), patch, "r1", true)
	if err != nil || string(body) != `{"changed":["port a added"],"warnings":[],"revision":"r2"}` {
		t.Errorf("%s %v", body, err)
	}
	if _, err = client.EditConfig(t.Context(), nil, "", false); err != nil {
		t.Error(err)
	}
	if !cmp.Equal(c.Patches[0], patch) || len(c.Patches[1]) != 0 || !cmp.Equal(c.Revisions, []string{"r1", ""}) || !cmp.Equal(c.Tries, []bool{true, false}) {
		t.Errorf("%+v", c)
	}
	if _, err := client.CheckConfig(t.Context(), "[port.a]\n"); err != nil || c.Texts[0] != "[port.a]\n" {
		t.Errorf("%v %q", err, c.Texts)
	}
}

// Requests about the configuration that cannot be read, or are refused, say why.
func TestRefusedConfiguration(t *testing.T) {
	c := &controltest.Configuration{Info: control.ConfigInfo{Revision: "r1", Document: &tomldoc.Table{}}, Err: errors.New("a: bad\nb: bad")}
	socket := serve(t, controltest.Sample(), c)
	deep := strings.Repeat("[", tomldoc.MaxDepth+1) + strings.Repeat("]", tomldoc.MaxDepth+1)
	for _, tt := range []struct {
		method, path, header, body string
		status                     int
		error                      string
	}{
		{"PATCH", "/v1/config", "", `[]`, 409, "change refused, nothing has changed"},
		{"PATCH", "/v1/config", `If-Match: "r1"`, `[]`, 409, "change refused, nothing has changed"},
		{"PATCH", "/v1/config", `If-Match: *`, `[]`, 409, "change refused, nothing has changed"},
		{"PATCH", "/v1/config", `If-Match: "r2"`, `[]`, 412, "the configuration has been changed meanwhile"},
		{"PATCH", "/v1/config", `If-Match: r1`, `[]`, 400, "If-Match is not one revision in quotes, or *"},
		{"PATCH", "/v1/config?dry_run=yes", "", `[]`, 400, `dry_run is "yes", must be true or false`},
		{"PATCH", "/v1/config?x=1", "", `[]`, 400, `unknown parameter "x"`},
		{"PATCH", "/v1/config", "", `[{"op":"put","path":"/a"}]`, 400, `op is "put", must be one of add, remove, replace, move, copy, test`},
		{"PATCH", "/v1/config", "", `[{"op":"add","value":1}]`, 400, `an edit "add" has no path`},
		{"PATCH", "/v1/config", "", `[{"op":"add","path":"a","value":1}]`, 400, `the path "a" does not begin with /`},
		{"PATCH", "/v1/config", "", `[{"op":"add","path":"/a"}]`, 400, "add /a: value is missing"},
		{"PATCH", "/v1/config", "", `[{"op":"add","path":"/a","value":null}]`, 400, "add /a: there is no null in TOML"},
		{"PATCH", "/v1/config", "", `[{"op":"add","path":"/a","value":{"b":1,"b":2}}]`, 400, `add /a: the key "b" is there twice`},
		{"PATCH", "/v1/config", "", `[{"op":"add","path":"/a","value":99999999999999999999}]`, 400, "add /a: 99999999999999999999 is too large"},
		{"PATCH", "/v1/config", "", `[{"op":"add","path":"/a","value":` + deep + `}]`, 400, "nested more than 16 deep"},
		{"PATCH", "/v1/config", "", `[{"op":"remove","path":"/a","value":1}]`, 400, "remove /a: value is missing, or there is one"},
		{"PATCH", "/v1/config", "", `[{"op":"move","path":"/a"}]`, 400, "move /a: from is missing"},
		{"PATCH", "/v1/config", "", `[{"op":"add","path":"/a","value":1,"vlaue":1}]`, 400, `unknown field "vlaue"`},
		{"PATCH", "/v1/config", "", `{}`, 400, "cannot unmarshal object"},
		{"PATCH", "/v1/config", "", `[] []`, 400, "more than one JSON value"},
		{"POST", "/v1/config/check", "", `{"text":""}`, 409, "a reload with this file would be refused"},
		{"POST", "/v1/config/check", "", `{"txt":""}`, 400, `unknown field "txt"`},
		{"PUT", "/v1/config", "", `{}`, 405, "use GET, PATCH"},
	} {
		resp, body := request(t, socket, tt.method, tt.path, tt.header, tt.body)
		var answer struct {
			Error   string
			Details []string
		}
		if err := json.Unmarshal([]byte(body), &answer); err != nil || resp.StatusCode != tt.status || !strings.Contains(answer.Error, tt.error) {
			t.Errorf("%s %s %s %s: %d %s; want %d %s", tt.method, tt.path, tt.header, tt.body, resp.StatusCode, body, tt.status, tt.error)
		}
		if tt.status == 409 && !cmp.Equal(answer.Details, []string{"a: bad", "b: bad"}) {
			t.Errorf("%s: %s", tt.body, body)
		}
	}
}
