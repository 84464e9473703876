// Package vswitchtest has ports and frames for tests of the switch and of packages that use the
// switch: a Recorder keeps the frames that are transmitted to it, a Sink only counts them,
// Frame makes a frame as a port's driver delivers it, and Transmit calls a port as the switch does.
package vswitchtest
