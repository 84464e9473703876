package control_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/hashicorp/go-hclog"

	"vswitchd/internal/control"
	"vswitchd/internal/control/controltest"
)

// ReadOnly answers what changes nothing, and says nothing about the configuration or the inside of
// guests.
func TestReadOnly(t *testing.T) {
	h := control.NewServer(controltest.Sample(), &controltest.Configuration{}, hclog.NewNullLogger()).ReadOnly()
	for _, c := range []struct {
		method, path string
		want         int
	}{
		{"GET", "/v1/switch", 200}, {"GET", "/v1/stats", 200}, {"GET", "/v1/stats/vm1", 200}, {"GET", "/v1/fdb?port=vm1", 200},
		{"HEAD", "/v1/switch", 200}, {"GET", "/v1/fdb?vlan=x", 400},
		{"GET", "/v1/ports", 404}, {"GET", "/v1/ports/vm1", 404}, {"GET", "/v1/config", 404}, {"GET", "/v1/captures", 404},
		{"POST", "/v1/fdb", 405}, {"DELETE", "/v1/fdb", 405}, {"DELETE", "/v1/fdb/52:54:00:00:00:99", 404},
		{"PATCH", "/v1/config", 404}, {"POST", "/v1/reload", 404}, {"POST", "/v1/captures", 404}, {"POST", "/v1/trace", 404},
		{"POST", "/v1/switch", 405}, {"GET", "/", 404},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(c.method, c.path, http.NoBody))
		if w.Code != c.want {
			t.Errorf("%s %s: %d, want %d: %s", c.method, c.path, w.Code, c.want, w.Body)
		}
	}
}
