//go:build !linux

package linux

const _ int = "vswitchd needs Linux: build it with GOOS=linux"
