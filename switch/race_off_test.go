//go:build !race

package vswitch_test

// traceRuns is how many switches are traced: with 400 random frames each, 10,000 frames.
const traceRuns = 25
