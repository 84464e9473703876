package peer

import (
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func lab(t *testing.T) *Lab {
	l, err := NewLab(t.TempDir(), 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// What a lab has started is gone after Close, and stays away.
func TestCloseEndsAll(t *testing.T) {
	l := lab(t)
	p, err := l.start("sleeper", exec.Command("sleep", "1000"))
	if err != nil {
		t.Fatal(err)
	}
	if !exists(l.Dir + "/sleeper.log") {
		t.Error("no log")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := p.Signal(unix.Signal(0)); err == nil {
		t.Error("the process still runs")
	}
	if exists(l.Dir) {
		t.Error("the lab's folder is still there")
	}
	if _, err := l.start("late", exec.Command("sleep", "1000")); err != ErrClosed {
		t.Errorf("starting a process in a closed lab: %v", err)
	}
	if err := l.HugePages(1); err != ErrClosed {
		t.Errorf("taking huge pages in a closed lab: %v", err)
	}
}

// A process is on the lab's processor with all its threads, and its processor time is told.
func TestProcess(t *testing.T) {
	l := lab(t)
	p, err := l.start("busy", exec.Command("sh", "-c", "while :; do :; done"))
	if err != nil {
		t.Fatal(err)
	}
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(p.PID(), &set); err != nil || set.Count() != 1 || !set.IsSet(0) {
		t.Errorf("it runs on %v, %v", set, err)
	}
	if err := p.await("it has run", func() bool { u, err := p.spent(); return err == nil && u.Done >= 0.02 && u.PerSecond == 1 }); err != nil {
		t.Error(err)
	}
	w, err := p.Work()
	if tid := w.Since(Work{p.PID(): 0}); err != nil || tid != p.PID() {
		t.Errorf("thread %d of process %d is busiest, %v", tid, p.PID(), err)
	}
	p.stop()
	if _, err := p.spent(); err == nil {
		t.Error("a process that has ended uses processor time")
	}
}

func TestBusiestThread(t *testing.T) {
	earlier, now := Work{1: 100, 2: 5}, Work{1: 110, 2: 5, 3: 11, 4: 0}
	if tid := now.Since(earlier); tid != 3 {
		t.Errorf("thread %d", tid)
	}
}

// Waiting for something of a process ends when the process does.
func TestAwaitNoticesTheEnd(t *testing.T) {
	p, err := lab(t).start("short", exec.Command("sh", "-c", "echo last words"))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.await("it does something", func() bool { return false }); err == nil {
		t.Error("no error")
	} else {
		t.Log(err)
	}
}

// A clock counts time in which a thread runs, and none in which it sleeps.
func TestClock(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	c, err := ThreadClock(os.Getpid(), unix.Gettid())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	before, waited := c.Read()
	for end := time.Now().Add(time.Minute); ; {
		ran, w := c.Read()
		if ran-before > 10*time.Millisecond {
			if w < waited {
				t.Errorf("waited %v, then %v", waited, w)
			}
			return
		}
		if time.Now().After(end) {
			t.Fatal("a busy thread has not run for a minute")
		}
	}
}
