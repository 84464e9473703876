// Command agent is the first process of a test guest. It mounts the kernel's file systems, loads
// the drivers, sets eth0's addresses whenever an eth0 appears, and runs the commands that the host
// sends over the second serial port.
//
// It is the guest's init, but reaps nobody's children: a guest lives for minutes.
package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	_ "vswitchd/internal/platform/linux"
	"vswitchd/test/guest"
)

func main() {
	if err := run(); err != nil {
		// The kernel panics when its first process ends, and says so on the console, after this.
		fmt.Println("agent:", err)
		os.Exit(1)
	}
}

func run() error {
	if err := mountAll(); err != nil {
		return err
	}
	params, err := kernelParams()
	if err != nil {
		return err
	}
	os.Setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
	os.Setenv("HOME", "/")

	configured, err := watchLinks(params)
	if err != nil {
		return fmt.Errorf("watch links: %w", err)
	}
	if err := loadModules("/lib/modules"); err != nil {
		return err
	}
	if params[guest.ParamIperf] == "1" {
		if err := exec.Command("iperf3", "--server", "--daemon").Run(); err != nil {
			return fmt.Errorf("start iperf3: %w", err)
		}
	}

	server, err := newServer(cmp.Or(params[guest.ParamAgent], guest.DefaultAgent))
	if err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGUSR1, syscall.SIGUSR2)
	if params[guest.ParamIP] != "" {
		<-configured
	}
	if err := server.announce(); err != nil {
		return err
	}
	go server.serve()

	// The signals are those that busybox's reboot, halt and poweroff send to the first process.
	how := unix.LINUX_REBOOT_CMD_POWER_OFF
	if <-stop == syscall.SIGTERM {
		how = unix.LINUX_REBOOT_CMD_RESTART
	}
	server.drain()
	return unix.Reboot(how)
}

func mountAll() error {
	for _, m := range []struct{ kind, path string }{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"tmpfs", "/tmp"}, {"tmpfs", "/run"}, {"devpts", "/dev/pts"},
	} {
		if err := os.MkdirAll(m.path, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.kind, m.path, m.kind, 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.path, err)
		}
	}
	return nil
}

func kernelParams() (map[string]string, error) {
	line, err := os.ReadFile("/proc/cmdline")
	if err != nil {
		return nil, err
	}
	params := make(map[string]string)
	for _, field := range strings.Fields(string(line)) {
		key, value, _ := strings.Cut(field, "=")
		params[key] = value
	}
	return params, nil
}

// quietIPv6 makes the addresses of interfaces to come usable at once, and has none come from
// elsewhere. Where IPv6 is a module that is not loaded yet, it does nothing.
func quietIPv6() error {
	for _, key := range []string{"accept_dad", "accept_ra"} {
		err := os.WriteFile("/proc/sys/net/ipv6/conf/default/"+key, []byte("0"), 0)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// loadModules loads the modules in dir, in the order of their names: build-image numbers them so
// that each comes after those it needs.
func loadModules(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		// Before the one that brings an interface, which inherits it.
		if err := quietIPv6(); err != nil {
			return err
		}
		file, err := os.Open(dir + "/" + entry.Name())
		if err != nil {
			return err
		}
		err = unix.FinitModule(int(file.Fd()), "", 0)
		file.Close()
		if err != nil {
			return fmt.Errorf("load %s: %w", entry.Name(), err)
		}
	}
	return nil
}
