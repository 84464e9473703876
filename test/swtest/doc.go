// Package swtest runs vswitchd as its users do, as a process with a configuration file, for
// end-to-end tests: in a directory of its own, in a network namespace if asked, with its control
// API at hand. What it starts and makes is gone when the test ends.
package swtest
