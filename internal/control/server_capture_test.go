package control_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"vswitchd/internal/control"
	"vswitchd/internal/control/controltest"
)

func TestCapturesAreListedAndStopped(t *testing.T) {
	b := controltest.Sample()
	socket := serve(t, b, nil)
	if d := cmp.Diff(b.Running, get[[]control.Capture](t, socket, "/v1/captures"), cmpopts.EquateEmpty()); d != "" {
		t.Error(d)
	}
	for _, id := range []string{"8", "x"} {
		if status, answer := send(t, socket, "DELETE", "/v1/captures/"+id, ""); status != 404 || !strings.Contains(answer, "no such capture") {
			t.Errorf("id %s: %d %s", id, status, answer)
		}
	}
}

// What a client asks for is checked before anything begins.
func TestCaptureRequestsAreChecked(t *testing.T) {
	b := controltest.Sample()
	socket := serve(t, b, nil)
	for body, want := range map[string]string{
		`{}`:                                             `400 {"error":"ports are missing"}`,
		`{"all": true, "ports": ["vm1"]}`:                `400 {"error":"all excludes ports"}`,
		`{"ports": ["vm1", "vm9"]}`:                      `404 {"error":"no such port: \"vm9\"; did you mean \"vm1\"?"}`,
		`{"all": true, "direction": "ni"}`:               `400 {"error":"unknown direction \"ni\"; did you mean \"in\"?"}`,
		`{"all": true, "snaplen": -1}`:                   `400 {"error":"snaplen or buffer is negative"}`,
		`{"all": true, "duration_ms": 1000000000000000}`: `400 {"error":"duration_ms is 1000000000000000, must be from 0 to 31622400000"}`,
		`{"all": true, "filter": [[65536, 0, 0, 0]]}`:    `400 {"error":"malformed request: filter: instruction 0: a number is too large"}`,
		`{"all": true, "filter": [[-1, 0, 0, 0]]}`:       `400 {"error":"the body is not as it should be`,
		`{"all": true, "buffer": 1073741825}`:            `409 {"error":"captures need too much memory"}`,
		`{"all": true, "filters": []}`:                   `400 {"error":"the body is not as it should be: json: unknown field \"filters\""}`,
	} {
		status, answer := send(t, socket, "POST", "/v1/captures", body)
		if got := fmt.Sprint(status, " ", answer); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %d %s, want %s", body, status, answer, want)
		}
	}
	if len(b.Requests) != 0 {
		t.Errorf("captures have begun: %+v", b.Requests)
	}
}

// A capture is streamed while it runs, and ends in order when it is stopped: with its totals.
func TestCapturesAreStreamed(t *testing.T) {
	b := controltest.Sample()
	b.Stream, b.Rest = []byte("begin"), []byte(" end")
	socket := serve(t, b, nil)
	c := control.NewClient(socket)
	r := control.CaptureRequest{Ports: []string{"vm1"}, Direction: "in", Filter: [][4]uint32{{6, 0, 0, 1}}, FilterText: "ip"}
	a, err := c.Capture(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	begin := make([]byte, 5)
	if _, err := io.ReadFull(a, begin); err != nil || string(begin) != "begin" {
		t.Fatalf("%q, %v", begin, err)
	}
	if _, _, ok := a.Totals(); ok {
		t.Error("there are totals before the end")
	}
	if d := cmp.Diff([]control.CaptureRequest{r}, b.Requests); d != "" {
		t.Error(d)
	}
	if _, err := c.Delete(t.Context(), "/v1/captures/7"); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(a)
	if err != nil || string(rest) != " end" {
		t.Errorf("%q, %v", rest, err)
	}
	if captured, lost, ok := a.Totals(); !ok || captured != 42 || lost != 3 {
		t.Errorf("captured %d, lost %d, %v", captured, lost, ok)
	}
}

// A capture ends when its client leaves, and when the server stops.
func TestCapturesEndWithTheirClient(t *testing.T) {
	b := controltest.Sample()
	b.Stream, b.Rest = []byte("begin"), []byte(" end")
	whole := make(chan string, 1)
	t.Cleanup(func() { // when the server has stopped
		if text := <-whole; text != "begin end" {
			t.Errorf("the capture of a server that stops is %q", text)
		}
	})
	c := control.NewClient(serve(t, b, nil))
	ctx, cancel := context.WithCancel(t.Context())
	a, err := c.Capture(ctx, control.CaptureRequest{All: true})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.ReadAll(a); !errors.Is(err, context.Canceled) {
		t.Errorf("the end is %v", err)
	}
	a.Close()
	if a, err = c.Capture(context.Background(), control.CaptureRequest{All: true}); err != nil {
		t.Fatal(err)
	}
	go func() {
		text, _ := io.ReadAll(a)
		a.Close()
		whole <- string(text)
	}()
}
