package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"vswitchd/internal/control"
	"vswitchd/internal/layout"
)

// An upgraded is the result of an upgrade.
type upgraded struct {
	PID     int    `json:"pid"` // of the vswitchd that runs now
	Was     int    `json:"was"` // of the one that has ended
	Version string `json:"version"`
}

func (c *client) upgrade() *cobra.Command {
	return &cobra.Command{
		Use:   "upgrade [BINARY]",
		Short: "Start a new vswitchd, which takes over from the running one without interrupting guests",
		Args:  atMost(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			binary := ""
			if len(args) == 1 {
				binary = args[0]
			}
			result, err := c.takeOver(cmd, binary)
			if err != nil {
				return failure{err}
			}
			body, err := json.Marshal(result)
			return show(c, body, err, printUpgraded)
		},
	}
}

func printUpgraded(w *layout.Page, u upgraded) {
	fmt.Fprintf(w, "vswitchd %s runs as process %d and has taken over from process %d\n", u.Version, u.PID, u.Was)
}

// takeOver starts a vswitchd that takes over, and waits for the end of the running one. binary is
// the program; "": that of the running one.
func (c *client) takeOver(cmd *cobra.Command, binary string) (*upgraded, error) {
	before, err := c.status(cmd)
	if err != nil {
		return nil, err
	}
	old, err := openProcess(before.PID)
	if err != nil {
		return nil, fmt.Errorf("looking at the running vswitchd: %w", err)
	}
	defer old.close()
	next, err := old.successor(binary)
	if err != nil {
		return nil, err
	}
	if err := next.Start(); err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- next.Wait() }()
	for !old.hasEnded(10 * time.Millisecond) {
		select {
		case err := <-ended:
			return nil, fmt.Errorf("the new vswitchd does not take over (%v), its log says why; the running one goes on", err)
		default:
		}
	}
	for {
		now, err := c.status(cmd)
		if err == nil {
			return &upgraded{PID: now.PID, Was: before.PID, Version: now.Version}, nil
		}
		select {
		case <-ended:
			return nil, fmt.Errorf("both processes have ended: %w", err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// status returns the description of the running vswitchd.
func (c *client) status(cmd *cobra.Command) (info control.SwitchInfo, err error) {
	body, err := control.NewClient(c.socket).Get(cmd.Context(), "/v1/switch")
	if err == nil {
		err = json.Unmarshal(body, &info)
	}
	return info, err
}

// A process is a vswitchd that runs.
type process struct {
	pidfd int
	dir   string // in /proc
}

func openProcess(pid int) (*process, error) {
	if pid == 0 {
		return nil, errors.New("its version does not tell its process, and cannot be taken over")
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil, fmt.Errorf("process %d: %w", pid, err)
	}
	return &process{fd, fmt.Sprintf("/proc/%d", pid)}, nil
}

func (p *process) close() { _ = unix.Close(p.pidfd) }

// hasEnded waits for the end of the process, and reports whether it has ended.
func (p *process) hasEnded(within time.Duration) bool {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(p.pidfd), Events: unix.POLLIN}}, int(within.Milliseconds()))
	return err == nil && n > 0
}

// successor returns the command that takes over from the process: with the same arguments,
// environment, directory and log.
func (p *process) successor(binary string) (*exec.Cmd, error) {
	args, err := p.list("cmdline")
	if err != nil {
		return nil, err
	}
	env, err := p.list("environ")
	if err != nil {
		return nil, err
	}
	if slices.ContainsFunc(env, func(v string) bool { return strings.HasPrefix(v, "INVOCATION_ID=") }) {
		return nil, errors.New("vswitchd is a service of systemd, which would take the end of the process for that of the service: restart the service instead")
	}
	dir, err := os.Readlink(filepath.Join(p.dir, "cwd"))
	if err != nil {
		return nil, err
	}
	if binary == "" {
		if binary, err = os.Readlink(filepath.Join(p.dir, "exe")); err != nil {
			return nil, err
		}
		binary = strings.TrimSuffix(binary, " (deleted)") // replaced by a newer one
	} else if binary, err = filepath.Abs(binary); err != nil {
		return nil, err
	}
	args = slices.DeleteFunc(args[1:], func(a string) bool { return a == "--takeover" })
	next := exec.Command(binary, append(args, "--takeover")...)
	next.Env, next.Dir = env, dir
	next.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if next.Stderr, err = p.stderr(); err != nil {
		return nil, fmt.Errorf("the log of the running vswitchd: %w", err)
	}
	return next, nil
}

// list reads a file of strings that end with a zero.
func (p *process) list(name string) ([]string, error) {
	data, err := os.ReadFile(filepath.Join(p.dir, name))
	if err != nil {
		return nil, err
	}
	var list []string
	for s := range bytes.SplitSeq(bytes.TrimSuffix(data, []byte{0}), []byte{0}) {
		list = append(list, string(s))
	}
	return list, nil
}

// stderr returns the standard error of the process, where its log goes.
func (p *process) stderr() (*os.File, error) {
	fd, err := unix.PidfdGetfd(p.pidfd, 2, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "log"), nil
}
