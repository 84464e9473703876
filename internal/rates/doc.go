// Package rates computes what happens per second at a switch from two readings of its counters. It
// does not know how the counters are read, or how rates are shown: internal/top does both.
package rates
