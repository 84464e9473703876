// Package daemon assembles a running switch from a configuration: the switch, the workers, and
// ports. It holds no frame and no message in its hands, and knows no kind of port: what a guest or
// an uplink is, is in packages below internal/port, of which kinds.go has the list. cmd/vswitchd
// makes a Daemon and runs it; package control shows it to clients.
//
// A port is opened once and then lives as long as the configuration has it; what comes and goes
// (front-ends, interfaces) it follows by itself. Opening fails where an operator has to act: a
// socket in use, an interface that has no Ethernet frames. An interface that is not there is waited
// for.
package daemon
