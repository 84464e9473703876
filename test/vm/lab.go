package vm

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
)

// A QEMU is a version of QEMU that make lab provides.
type QEMU string

const (
	QEMU10 QEMU = "10" // or newer
	QEMU72 QEMU = "7.2"
)

// Versions lists those present here: both, but on Debian releases newer than 12, which have no QEMU
// 7.2.
func Versions() ([]QEMU, error) {
	var present []QEMU
	for _, q := range []QEMU{QEMU10, QEMU72} {
		if _, err := q.path(); err == nil {
			present = append(present, q)
		}
	}
	if len(present) == 0 {
		return nil, errors.New("no QEMU in build/lab: run make lab")
	}
	return present, nil
}

func (q QEMU) path() (string, error) { return Tool(q.tool()) }

// tool is the name of the program in build/lab.
func (q QEMU) tool() string {
	switch q {
	case "":
		return "qemu-" + string(QEMU10)
	case UML:
		return "linux.uml"
	}
	return "qemu-" + string(q)
}

// Tool returns the path of a program that make lab provides in build/lab, such as dpdk-testpmd.
func Tool(name string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	path := filepath.Join(root, "build", "lab", name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%w: run make lab", err)
	}
	return path, nil
}

// Root returns the folder of this module: the nearest one with a go.mod, from the working directory
// upwards.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if mod, err := os.ReadFile(filepath.Join(dir, "go.mod")); err == nil && bytes.HasPrefix(mod, []byte("module vswitchd\n")) {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("not inside the checkout of vswitchd")
		}
		dir = filepath.Dir(dir)
	}
}

// An image is the guest's kernel and its initramfs; of a guest in User Mode Linux, what starts it
// and its initramfs.
type image struct{ kernel, initramfs, umlexec, umlInitramfs string }

// buildImage builds the guest, once in this process; the script does nothing when it is up to date.
var buildImage = sync.OnceValues(func() (image, error) { return runBuildImage(AMD64) })

func runBuildImage(cpu CPU) (image, error) {
	root, err := Root()
	if err != nil {
		return image{}, err
	}
	script, dir := exec.Command(filepath.Join(root, "test/guest/build-image")), filepath.Join(root, "build/guest")
	if cpu.foreign() {
		script.Args = append(script.Args, string(cpu))
		dir += "-" + string(cpu)
	}
	if out, err := script.CombinedOutput(); err != nil {
		return image{}, fmt.Errorf("build the guest image: %w: %s", err, bytes.TrimSpace(out))
	}
	return image{
		kernel: filepath.Join(dir, "kernel"), initramfs: filepath.Join(dir, "initramfs"),
		umlexec: filepath.Join(dir, "umlexec"), umlInitramfs: filepath.Join(dir, "uml-initramfs"),
	}, nil
}

// image is the guest's for the CPU.
func (c CPU) image() (image, error) {
	if c.foreign() {
		return runBuildImage(c)
	}
	return buildImage()
}

// BuildImage builds the guest's kernel and initramfs, build/guest/kernel and build/guest/initramfs,
// for a guest that is started otherwise than by this package.
func BuildImage() error {
	_, err := buildImage()
	return err
}

// Accel returns how guests are to run, kvm or tcg. The environment variable ACCEL decides; where it
// is auto or not set, kvm is taken only if a guest has come up under it: /dev/kvm may open, and the
// guest hang all the same. That is tried once for a checkout and a host kernel, and remembered in
// build/guest/accel.
func Accel(ctx context.Context) (string, error) {
	switch accel := os.Getenv("ACCEL"); accel {
	case "kvm", "tcg":
		return accel, nil
	case "", "auto":
	default:
		return "", fmt.Errorf("ACCEL=%s: want auto, kvm or tcg", accel)
	}
	if kvm, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err != nil {
		return "tcg", nil
	} else {
		kvm.Close()
	}
	img, err := buildImage()
	if err != nil {
		return "", err
	}
	host, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return "", err
	}

	// Test binaries run side by side: the first one tries, the others wait for it.
	file, err := os.OpenFile(filepath.Join(filepath.Dir(img.kernel), "accel"), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return "", err
	}
	defer file.Close()
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	for _, accel := range []string{"kvm", "tcg"} {
		if known, err := os.ReadFile(file.Name()); err == nil && string(known) == accel+" "+string(host) {
			return accel, nil
		}
	}
	accel := "kvm"
	if err := tryKVM(ctx); ctx.Err() != nil {
		return "", ctx.Err()
	} else if err != nil {
		accel = "tcg"
	}
	return accel, os.WriteFile(file.Name(), []byte(accel+" "+string(host)), 0o644)
}
