// Package doctor says why a port is silent and why the switch is slow: it makes the checks that an
// expert would make, and gives each finding with its evidence and with advice.
//
// A check is a pure function of a [Case]: what the control API answered at two points in time, and
// what can be seen of the machine. The package requests nothing and reads no files; vswitchctl
// collects a Case and prints the findings. The package does not know how frames are forwarded, and
// changes nothing.
//
// A check must have evidence: a configuration that merely is unusual is no finding. A healthy
// switch has none, whatever it has been through before, except for notes.
package doctor
