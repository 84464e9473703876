// Package vswitchtest has ports and frames for tests of the switch and of packages that use the
// switch: a Recorder keeps the frames that are transmitted to it, a Sink only counts them, and
// Frame makes a frame as a port's driver delivers it.
package vswitchtest
