//go:build race

package vswitch_test

// traceRuns is smaller under the race detector, which slows down the copying of tables many times.
const traceRuns = 3
