// Package linux is empty on Linux and does not compile on any other system, so that a build for
// another system fails with a single message that gives the reason, instead of one error for each
// use of epoll, eventfds or packet sockets. Packages that need Linux import this package only for
// this check.
package linux
