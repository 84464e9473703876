package capture_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vswitchd/internal/capture"
	vswitch "vswitchd/switch"
	"vswitchd/switch/vswitchtest"
)

// next starts a Next, and calls deliver until a frame has been found.
func (l *lab) next(port string, f *capture.Filter, deliver func()) *capture.Outcome {
	l.t.Helper()
	done := make(chan *capture.Outcome)
	go func() {
		o, err := capture.Next(l.t.Context(), l.sw, port, f)
		if err != nil {
			l.t.Error(err)
		}
		done <- o
	}()
	for {
		deliver()
		select {
		case o := <-done:
			return o
		case <-time.After(time.Millisecond):
		}
	}
}

// outcome returns the steps as lines, with the number of bytes of each frame.
func outcome(o *capture.Outcome) (list []string) {
	for _, s := range o.Steps {
		line := fmt.Sprint(s.Stage, " ", s.Port, " ", s.Result, " ", s.Reason, " ", s.Filter, " ", s.Rule)
		for _, f := range s.Frames {
			line += fmt.Sprintf(" %d", len(f.Bytes))
		}
		list = append(list, strings.Join(strings.Fields(line), " "))
	}
	return list
}

// What has happened to the frame that the filter selects is told from what has happened to the
// others of its batch: where it went, which mirror has copied it, and where it was dropped.
func TestNextTellsOneFrameFromOthers(t *testing.T) {
	l := newLab(t, "a", "b", "probe")
	l.add("full", refusing{})
	change := vswitch.Change{KeepStatic: true, SetMirrors: true, Mirrors: []vswitch.MirrorConfig{{Name: "m", SelectSrc: []string{"a"}, Output: "probe", Snaplen: 60}}}
	if _, err := l.sw.Apply(&change); err != nil {
		t.Fatal(err)
	}
	filter, err := capture.NewFilter(udpPort(9))
	if err != nil {
		t.Fatal(err)
	}
	l.in["b"].Deliver(frame(udp(t, vswitchtest.Broadcast, macB, 1, nil)))
	other, wanted := udp(t, macB, macA, 8, make([]byte, 300)), udp(t, vswitchtest.Broadcast, macA, 9, make([]byte, 400))
	o := l.next("a", filter, func() {
		l.in["b"].Deliver(frame(udp(t, macA, macB, 9, nil))) // from another port
		l.in["a"].Deliver([]vswitch.Frame{vswitchtest.Frame(other), vswitchtest.Frame(wanted), vswitchtest.Frame(other)})
		l.in["a"].Deliver([]vswitch.Frame{vswitchtest.Frame(other), vswitchtest.Frame(other)}) // another batch
	})
	if !bytes.Equal(o.Frame, wanted) {
		t.Errorf("the frame is %x", o.Frame)
	}
	want := []string{"mirror probe copy 60", fmt.Sprint("transmit b send ", len(wanted)), "transmit full drop ring-full"}
	if d := cmp.Diff(want, outcome(o)); d != "" {
		t.Error(d)
	}
	o = l.next("a", nil, func() { l.in["a"].Deliver(frame(udp(t, macB, vswitchtest.Broadcast, 1, nil))) })
	if d := cmp.Diff([]string{"classify a drop bad-source"}, outcome(o)); d != "" {
		t.Error(d)
	}
}

// Next ends with its context, and takes its taps away.
func TestNextEnds(t *testing.T) {
	l := newLab(t, "a")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 2 * vswitch.MaxTaps {
		if o, err := capture.Next(ctx, l.sw, "a", nil); o != nil || err != nil {
			t.Fatalf("%+v, %v", o, err)
		}
		if _, err := capture.Next(ctx, l.sw, "b", nil); !errors.Is(err, vswitch.ErrNoPort) {
			t.Fatalf("a port that does not exist: %v", err)
		}
	}
}
