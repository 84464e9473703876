// Package swtest runs vswitchd as its users do, as a process with a configuration file, for
// end-to-end tests: in a temporary directory, in a network namespace if asked, and with access to
// its control API. Everything that the package starts and makes is removed when the test ends.
package swtest
