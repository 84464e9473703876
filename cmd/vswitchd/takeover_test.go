package main

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"vswitchd/internal/control"
	"vswitchd/test/logbuf"
)

// A relay race is a series of vswitchds, each of which takes over from the one before.
type relayRace struct {
	*testing.T
	dir  string
	args []string
	log  logbuf.Buffer
	now  *runner
}

// A runner is one of the processes.
type runner struct {
	cmd    *exec.Cmd
	exited chan struct{}
}

func newRelayRace(t *testing.T, config string) *relayRace {
	t.Helper()
	return newRelayRaceOf(t, program, config)
}

func newRelayRaceOf(t *testing.T, program, config string) *relayRace {
	t.Helper()
	dir, err := os.MkdirTemp("", "vswitchd-")
	if err != nil {
		t.Fatal(err)
	}
	r := &relayRace{T: t, dir: dir}
	file := write(t, dir, "[control]\nsocket = \""+dir+"/control\"\n[switch]\nsocket_dir = \""+dir+"\"\n"+config)
	r.args = []string{"--config", file}
	t.Cleanup(func() {
		_ = r.now.cmd.Process.Kill()
		<-r.now.exited
		os.RemoveAll(dir)
		if t.Failed() {
			t.Logf("log:\n%s", r.log.String())
		}
	})
	r.now = r.start(program)
	r.answers()
	return r
}

// answers waits until the process that serves the control API answers.
func (r *relayRace) answers() {
	r.Helper()
	r.until("vswitchd answers", func() bool {
		_, err := r.client().Get(r.Context(), "/v1/switch")
		return err == nil
	})
}

func (r *relayRace) client() *control.Client { return control.NewClient(r.dir + "/control") }

func (r *relayRace) start(program string, args ...string) *runner {
	r.Helper()
	p := &runner{exec.Command(program, append(append([]string{}, r.args...), args...)...), make(chan struct{})}
	p.cmd.Stderr = &r.log
	if err := p.cmd.Start(); err != nil {
		r.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.exited)
	}()
	return p
}

func (r *relayRace) until(what string, condition func() bool) {
	r.Helper()
	for end := time.Now().Add(time.Minute); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			r.Fatalf("timed out after a minute, waiting until %s", what)
		}
	}
}

// takeOver makes a new process take over, and waits for the end of the old one.
func (r *relayRace) takeOver() {
	r.Helper()
	before := r.now
	r.now = r.start(program, "--takeover")
	select {
	case <-before.exited:
	case <-r.now.exited:
		r.Error("the new process has ended")
		r.now = before
		r.FailNow()
	case <-time.After(time.Minute):
		r.Fatal("the old process does not end")
	}
	if code := before.cmd.ProcessState.ExitCode(); code != exitOK {
		r.Fatalf("the old process has ended with %d", code)
	}
}

// port returns the details of a port.
func (r *relayRace) port(name string) (d control.PortDetail) {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), 30*time.Second)
	defer cancel()
	text, err := r.client().Get(ctx, "/v1/ports/"+name)
	if err == nil {
		err = json.Unmarshal(text, &d)
	}
	if err != nil {
		r.Fatal(err)
	}
	return d
}

// fdb returns the entries of the FDB without their ages.
func (r *relayRace) fdb() (list []control.FDBEntry) {
	r.Helper()
	text, err := r.client().Get(r.Context(), "/v1/fdb")
	if err == nil {
		err = json.Unmarshal(text, &list)
	}
	if err != nil {
		r.Fatal(err)
	}
	for i := range list {
		list[i].AgeS = 0
	}
	return list
}

// Guests that talk to each other all the time lose nothing, get nothing twice, and get everything
// in order, while one vswitchd after another takes over.
func TestTakeover(t *testing.T) {
	r := newRelayRace(t, "loop_detection = false\n[port.a]\n[port.b]\n")
	stations := r.talk("a", "b")
	if _, err := r.client().Post(r.Context(), "/v1/fdb?mac=52:54:00:00:00:99&port=b&type=static"); err != nil {
		t.Fatal(err) // by hand
	}
	for range 10 {
		for _, s := range stations {
			if err := s.Await(200); err != nil {
				t.Fatal(err)
			}
		}
		before, learned := r.port("a").Counters.RxFrames, r.fdb()
		r.takeOver()
		if now := r.port("a"); now.Counters.RxFrames < before || now.State != control.StateRunning || now.Session.Number != 1 {
			t.Errorf("port a is %s, has counted %d frames after %d, in session %d", now.State, now.Counters.RxFrames, before, now.Session.Number)
		}
		if now := r.fdb(); !slices.Equal(now, learned) || len(now) != 3 {
			t.Errorf("the FDB is %v instead of %v", now, learned)
		}
	}
	r.serves(stations)
	if n := strings.Count(r.log.String(), "taken over"); n != 10 {
		t.Errorf("%d processes have taken over", n)
	}
}
