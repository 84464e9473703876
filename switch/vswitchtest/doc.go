// Package vswitchtest has ports and frames for tests of the switch and of what
// is built on it: a Recorder keeps what is transmitted to it, a Sink only
// counts, and Frame makes a frame as a port's driver would deliver it.
package vswitchtest
