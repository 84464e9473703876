package control_test

import (
	"reflect"
	"testing"

	"vswitchd/internal/control"
	"vswitchd/internal/control/controltest"
)

// Statistics are shown since the start, unless the request asks for those since the last reset.
func TestStatsSinceReset(t *testing.T) {
	socket := serve(t, controltest.Sample(), nil)
	for path, want := range map[string]uint64{
		"/v1/stats/vm2": 0, "/v1/stats/vm2?since=start": 0, "/v1/stats/vm2?since=reset": 1, "/v1/stats/vm1?since=reset": 2345678901,
	} {
		if got := get[control.PortStats](t, socket, path).Counters.RxFrames; got != want {
			t.Errorf("%s: %d frames, want %d", path, got, want)
		}
	}
	for _, tt := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"GET", "/v1/stats?since=rset", 400, `{"error":"since is \"rset\", must be start or reset; did you mean \"reset\"?"}`},
		{"DELETE", "/v1/stats", 200, `{"ports":5}`},
		{"DELETE", "/v1/stats/vm1", 200, `{"ports":1}`},
		{"DELETE", "/v1/stats/vm", 404, `{"error":"no such port: \"vm\"; did you mean \"vm1\"?"}`},
		{"DELETE", "/v1/stats?port=vm1", 400, `{"error":"unknown parameter \"port\""}`},
	} {
		if status, body := raw(t, socket, tt.method, tt.path); status != tt.status || body != tt.body {
			t.Errorf("%s %s: %d %s", tt.method, tt.path, status, body)
		}
	}
}

// No counter is left out of the difference.
func TestEveryCounterIsReset(t *testing.T) {
	fill := func(n uint64) (c control.Counters) {
		v := reflect.ValueOf(&c).Elem()
		for i := range v.NumField() {
			if f := v.Field(i); f.Kind() == reflect.Uint64 {
				f.SetUint(n)
			} else {
				f.Set(reflect.ValueOf(control.Tally{"a": n, "b": n}))
			}
		}
		return c
	}
	now, was := fill(9), fill(4)
	delete(was.Drops, "a") // a reason that had not occurred
	want := fill(5)
	want.Drops["a"] = 9
	if got := now.Since(&was); !reflect.DeepEqual(got, want) {
		t.Errorf("since %+v: %+v, want %+v", was, got, want)
	}
	if !reflect.DeepEqual(now, fill(9)) {
		t.Error("the counters themselves have changed")
	}
}
