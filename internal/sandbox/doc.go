// Package sandbox takes from the running process what it does not need any more: access to files
// (Landlock), system calls (seccomp), and capabilities. It knows neither ports nor the
// configuration file. Package internal/daemon calls Enter once, when everything that needs
// privileges is open, and asks the result whether what is to be opened later can be opened.
//
// What is taken is taken from all threads, those that start later included, and for good.
//
// Each part is independent of the others, and best effort: a part that the kernel does not have, or
// that another sandbox around this one prevents, is reported and is no reason to stop.
//
// # What Landlock does not cover
//
// Landlock does not restrict stat(2), chmod(2), chown(2), or connect(2) to a unix socket before ABI
// 9, and this package does not ask for the latter: a port in client mode connects to a socket
// anywhere. Signals are restricted by the seccomp filter instead of a Landlock scope: without TSYNC
// (ABI 8) each thread gets a domain of its own, and kernels before 6.15 then refuse the signals by
// which the Go runtime preempts goroutines on other threads.
package sandbox
