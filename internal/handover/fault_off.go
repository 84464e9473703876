//go:build !faults

package handover

// fault is where a test ends the process: see fault_on.go.
func fault(string) {}
