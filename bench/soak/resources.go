package soak

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"time"
)

// resources are what a process has while no guest is there.
type resources struct {
	memory     int // KiB of its own: guests' memory is not counted
	goroutines int
	fds        int
}

func (r resources) String() string {
	return fmt.Sprintf("%d KiB, %d goroutines, %d file descriptors", r.memory, r.goroutines, r.fds)
}

// slack is by how much memory may differ, in KiB: the Go runtime returns what it does not use when
// it likes to.
const slack = 16 << 10

// grown reports whether there is more of anything than there was.
func (r resources) grown(was resources) bool {
	return r.memory > was.memory+slack || r.goroutines > was.goroutines || r.fds > was.fds
}

// settleTime is how long vswitchd has to forget guests that are gone.
const settleTime = 10 * time.Second

// settled returns what the process has once it does not change any more, and fails if that is more
// than it was. Without something to compare with it waits a little.
func (s *soak) settled(was *resources) (r resources, err error) {
	for end := time.Now().Add(settleTime); ; time.Sleep(100 * time.Millisecond) {
		before := r
		if r, err = s.resources(); err != nil {
			return r, err
		}
		switch {
		case was == nil && r == before, was != nil && !r.grown(*was):
			return r, nil
		case time.Now().After(end) && was == nil:
			return r, nil
		case time.Now().After(end):
			return r, fmt.Errorf("vswitchd has %v, it had %v", r, *was)
		}
	}
}

var (
	anonymous  = regexp.MustCompile(`RssAnon:\s+(\d+) kB`)
	goroutines = regexp.MustCompile(`(?m)^go_goroutines (\d+)`)
)

func (s *soak) resources() (r resources, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.be.PID()))
	if err != nil {
		return r, err
	}
	if r.memory, err = number(anonymous, status); err != nil {
		return r, err
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.be.PID()))
	if err != nil {
		return r, err
	}
	r.fds = len(fds)
	text, err := fetch("http://" + s.metrics + "/metrics")
	if err != nil {
		return r, err
	}
	r.goroutines, err = number(goroutines, text)
	return r, err
}

func number(re *regexp.Regexp, text []byte) (int, error) {
	f := re.FindSubmatch(text)
	if f == nil {
		return 0, fmt.Errorf("no %v in %q", re, text)
	}
	return strconv.Atoi(string(f[1]))
}

// fetch leaves no connection behind, which would count.
func fetch(url string) ([]byte, error) {
	client := http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get(url)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}

// freeAddress returns an address that nobody listens at.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}
