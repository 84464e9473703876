//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"vswitchd/test/logbuf"
	"vswitchd/test/swtest"
	"vswitchd/test/vm"
)

// An output is how a command ended.
type output struct {
	text string
	err  error
}

// run runs a command in a guest.
func run(ctx context.Context, m *vm.VM, command string, done chan<- output) {
	text, err := m.Output(ctx, command)
	done <- output{strings.TrimSpace(text), err}
}

// A job is a command that runs in a guest or in a namespace until the test stops it.
type job struct {
	what string
	done chan output
	kill func(t *testing.T)
	log  func(t *testing.T) string // what it has written to its standard error
}

var jobs atomic.Int64

// startJob starts a job in a guest, and returns when its standard error has the text ready.
func startJob(t *testing.T, m *vm.VM, command, ready string) *job {
	t.Helper()
	ctx := testContext(t)
	file := fmt.Sprintf("/tmp/job.%d", jobs.Add(1))
	j := &job{
		what: m.Config.Name + ": " + command,
		done: make(chan output, 1),
		kill: func(t *testing.T) { m.MustRun(t, "kill "+"$(cat "+file+")") },
		log:  func(t *testing.T) string { return m.MustRun(t, "cat "+file+".err") },
	}
	go run(ctx, m, fmt.Sprintf("echo $$ >%[1]s && exec 2>%[1]s.err && exec %[2]s", file, command), j.done)
	j.waitReady(t, func() bool {
		r, err := m.Run(ctx, fmt.Sprintf("grep -q %q %s.err", ready, file))
		return err == nil && r.Exit == 0
	})
	return j
}

// startNetnsJob starts a job in a namespace, likewise.
func startNetnsJob(t *testing.T, ns *swtest.Netns, ready, name string, args ...string) *job {
	t.Helper()
	cmd := ns.Command(name, args...)
	var stdout, stderr logbuf.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	j := &job{
		what: strings.Join(cmd.Args, " "),
		done: make(chan output, 1),
		kill: func(t *testing.T) {
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
		},
		log: func(*testing.T) string { return stderr.String() },
	}
	ended := make(chan struct{})
	go func() {
		err := cmd.Wait()
		if err != nil {
			err = fmt.Errorf("%w: %s", err, stderr.String())
		}
		close(ended)
		j.done <- output{strings.TrimSpace(stdout.String()), err}
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	j.waitReady(t, func() bool { return strings.Contains(stderr.String(), ready) })
	return j
}

func (j *job) waitReady(t *testing.T, ready func() bool) {
	t.Helper()
	swtest.Until(t, j.what+" is ready", func() bool {
		if ready() {
			return true
		}
		select {
		case o := <-j.done:
			t.Fatalf("%s has ended: %q, %v\n%s", j.what, o.text, o.err, j.log(t))
		default:
		}
		return false
	})
}

// wait waits until the job has ended, and returns its standard output.
func (j *job) wait(t *testing.T) string {
	t.Helper()
	select {
	case o := <-j.done:
		if o.err != nil {
			t.Fatalf("%s: %v", j.what, o.err)
		}
		return o.text
	case <-time.After(time.Minute):
		t.Fatalf("%s: has not ended after a minute", j.what)
		return ""
	}
}

// stop ends the job, which handles SIGTERM, and returns its standard output.
func (j *job) stop(t *testing.T) string {
	t.Helper()
	j.kill(t)
	return j.wait(t)
}

// decode decodes what a job has printed.
func decode[T any](t *testing.T, text string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	return v
}
