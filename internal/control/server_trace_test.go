package control_test

import (
	"strings"
	"testing"

	"vswitchd/internal/control/controltest"
)

func TestNextRequestsAreChecked(t *testing.T) {
	socket := serve(t, controltest.Sample(), nil)
	for body, want := range map[string]string{
		`{"port": "vm1", "filter": [[6, 0, 0, 1]]}`: `{"port":"vm1","frame":"0102","steps":[{"stage":"transmit","port":"vm2","result":"send","frames":["0102"]}]}`,
		`{"port": "vm1"}`:                  `{"port":"vm1","frame":"","steps":[]}`,
		`{"port": "vm9"}`:                  `{"error":"no such port: \"vm9\"; did you mean \"vm1\"?"}`,
		`{"port": "vm1", "wait_ms": 5001}`: `{"error":"wait_ms is 5001, must be from 0 to 5000"}`,
		`{"port": "vm1", "wait_ms": -1}`:   `{"error":"wait_ms is -1, must be from 0 to 5000"}`,
		`{"prt": "vm1"}`:                   `{"error":"the body is not as it should be`,
	} {
		status, answer := send(t, socket, "POST", "/v1/trace/next", body)
		if bad := strings.Contains(want, "error"); !strings.HasPrefix(answer, want) || bad != (status >= 400) {
			t.Errorf("%s: %d %s, want %s", body, status, answer, want)
		}
	}
}

func TestTraceRequestsAreChecked(t *testing.T) {
	socket := serve(t, controltest.Sample(), nil)
	for body, want := range map[string]string{
		`{"port": "vm1", "frame": "0102"}`:                                    `{"port":"vm1","frame":"0102","steps":[{"stage":"admit","port":"vm1","result":"pass","detail":"the port is up","frames":[]}`,
		`{"port": "vm9", "frame": "0102"}`:                                    `{"error":"no such port: \"vm9\"; did you mean \"vm1\"?"}`,
		`{"port": "vm1", "frame": "010"}`:                                     `{"error":"frame: encoding/hex: odd length hex string"}`,
		`{"port": "vm1", "frames": "0102"}`:                                   `{"error":"the body is not as it should be`,
		`{"port": "vm1", "frame": "` + strings.Repeat("00", 128<<10+1) + `"}`: `{"error":"frame: 131073 bytes, at most 131072 are possible"}`,
	} {
		status, answer := send(t, socket, "POST", "/v1/trace", body)
		if bad := strings.Contains(want, "error"); !strings.HasPrefix(answer, want) || bad != (status >= 400) {
			t.Errorf("%.60s: %d %s, want %s", body, status, answer, want)
		}
	}
}
