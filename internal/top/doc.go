// Package top shows the rates at the ports of a switch, interval by interval: on a terminal, where
// the user sorts, filters and scrolls, or as text and JSON for files and programs. It does not know
// where the counters come from, nor how rates are computed (internal/rates). cmd/vswitchctl is its
// only caller.
package top
