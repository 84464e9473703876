package peer

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"vswitchd/test/child"
)

// patience is how long anything may take that should come at once.
const patience = 30 * time.Second

// A process was started by the lab.
type process struct {
	*child.Process
	lab  *Lab
	name string
	log  string
}

// AnyCPU stands for no processor in particular.
const AnyCPU = -1

// Pin keeps this thread, and what it starts, on a processor. The goroutine must be locked to the
// thread.
func Pin(cpu int) error {
	if cpu == AnyCPU {
		return nil
	}
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("pinning to processor %d: %w", cpu, err)
	}
	return nil
}

// stop asks the process to end, and ends it if it does not.
func (p *process) stop() {
	p.Process.Stop(10 * time.Second)
	p.lab.mu.Lock()
	delete(p.lab.running, p)
	p.lab.mu.Unlock()
}

// await waits until a condition holds; it does not if the process has ended.
func (p *process) await(what string, condition func() bool) error {
	for end := time.Now().Add(patience); !condition(); time.Sleep(10 * time.Millisecond) {
		select {
		case <-p.Exited():
			return fmt.Errorf("%s has ended (%v), waiting until %s:\n%s", p.name, p.State(), what, p.tail())
		default:
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s: waited %v until %s:\n%s", p.name, patience, what, p.tail())
		}
	}
	return nil
}

// tail returns the end of the process's log.
func (p *process) tail() string {
	b, _ := os.ReadFile(p.log)
	return string(b[max(0, len(b)-2000):])
}

// exists reports whether a file does.
func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// A Clock tells what the scheduler knows of one thread.
type Clock struct{ file *os.File }

// ThreadClock returns the clock of a thread.
func ThreadClock(pid, tid int) (Clock, error) {
	f, err := os.Open(fmt.Sprintf("/proc/%d/task/%d/schedstat", pid, tid))
	return Clock{f}, err
}

// Close closes the clock.
func (c Clock) Close() { _ = c.file.Close() }

// Read returns for how long the thread has been running, and for how long it was ready to and
// something else ran. All of it is 0 when the thread is gone.
func (c Clock) Read() (ran, waited time.Duration) {
	var b [64]byte
	n, _ := c.file.ReadAt(b[:], 0)
	f := strings.Fields(string(b[:n]))
	if len(f) < 2 {
		return 0, 0
	}
	r, _ := strconv.ParseInt(f[0], 10, 64)
	w, _ := strconv.ParseInt(f[1], 10, 64)
	return time.Duration(r), time.Duration(w)
}

// A Work is the processor time that each thread of a process has used, by its id.
type Work map[int]time.Duration

// Work implements BackEnd.
func (p *process) Work() (Work, error) { return WorkOf(p.PID()) }

// WorkOf returns what the threads of a process have done.
func WorkOf(pid int) (Work, error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil, err
	}
	w := make(Work)
	for _, e := range entries {
		tid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		c, err := ThreadClock(pid, tid)
		if err != nil {
			continue // it has just ended
		}
		w[tid], _ = c.Read()
		c.Close()
	}
	return w, nil
}

// Since returns the thread that has used most since an earlier time.
func (w Work) Since(earlier Work) (busiest int) {
	most := time.Duration(-1)
	for tid, t := range w {
		if d := t - earlier[tid]; d > most {
			busiest, most = tid, d
		}
	}
	return busiest
}

// spent returns the processor time of a process, all threads together.
func (p *process) spent() (Usage, error) {
	w, err := p.Work()
	var all time.Duration
	for _, t := range w {
		all += t
	}
	return Usage{all.Seconds(), 1}, err
}
