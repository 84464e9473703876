// Package cgroup reads the memory limits of the control groups (version 2) that the process is in.
// It does not know what the memory is used for. Package internal/daemon shows the limits beside
// those that front-ends share.
package cgroup
